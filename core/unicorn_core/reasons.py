"""Every condition type and every reason that we write, each with a line that the reference shows.

A reason is one CamelCase word that stays the same from release to release; what varies is in the message beside it.
`CONDITIONS` and `REASONS` list them by what they are said of.
"""

from enum import StrEnum
from typing import Self


class Described(StrEnum):
    """A word with one line on what it means."""

    doc: str

    def __new__(cls, value: str, doc: str = "") -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.doc = doc
        return member


class ExperimentCondition(Described):
    ACCEPTED = "Accepted", "The spec is valid and everything that it names exists."
    ALLOCATED = "Allocated", "The nodes are leased."
    ENVIRONMENTS_READY = "EnvironmentsReady", "All environments are compiled."
    PREPARED = "Prepared", "Every node that can still take part is prepared."
    STARTED = "Started", "The executors are released."
    CLEANED_UP = "CleanedUp", "Nothing of the attempt is left on its nodes, and the leases are free."
    RECONCILED = "Reconciled", "The operator's last pass over the experiment went through; it is repeated otherwise."
    COMPLETE = "Complete", "The experiment has succeeded; absent otherwise."
    FAILED = "Failed", "The experiment has failed or was cancelled; absent otherwise."


class EnvironmentCondition(Described):
    READY = "Ready", "Executors can start in this environment."


class ConnectorCondition(Described):
    HEALTHY = "Healthy", "The deployment system answers, with these credentials and this configuration."
    INVENTORY_SYNCED = "InventorySynced", "Its nodes are known as TargetNodes."


class TargetNodeCondition(Described):
    READY = "Ready", "New leases of this node can be taken."


class ExperimentReason(Described):
    """Of an Experiment's conditions and of its status; EnvironmentsReady bears the reason of the Environment that is not."""

    # what holds an attempt up
    IN_PROGRESS = "InProgress", "This step is being worked on."
    REFERENCE_NOT_FOUND = "ReferenceNotFound", "Something that the spec names, a Pipeline, say, is not there yet."
    EDIT_REFUSED = "EditRefused", "The spec was changed in a way that an attempt does not allow; it goes on without the change."
    NODES_BUSY = "NodesBusy", "The nodes are leased by others; the experiment waits in the queue."
    QUEUED = "Queued", "Another experiment that waits for the same nodes comes first."
    NODE_NOT_FOUND = "NodeNotFound", "A node that a deployment names does not exist, or none fits its expressions."
    NODES_NOT_READY = "NodesNotReady", "The nodes exist, and some are not ready or take no leases now."
    ENVIRONMENT_NOT_SUPPORTED = "EnvironmentNotSupported", "The node does not take environments of this kind."
    NO_NODE_FITS = "NoNodeFits", "No known node fits what a deployment asks for."
    PAUSED = "Paused", "Nodes are not given out until every connector was observed after a restore of the database."
    BUILDING = "Building", "An environment is being compiled."
    BUILD_NOT_AVAILABLE = "BuildNotAvailable", "The environment asks for a build, and the operator was given no builder."
    ARCHITECTURE_NOT_SUPPORTED = "ArchitectureNotSupported", "The environment has no image for the architecture of the nodes."
    DATABASE_UNAVAILABLE = "DatabaseUnavailable", "PostgreSQL cannot be reached; everything waits and nothing is lost."
    KUBERNETES_API_UNAVAILABLE = "KubernetesApiUnavailable", "The Kubernetes API cannot be reached or is overloaded."
    KUBERNETES_API_REFUSED = "KubernetesApiRefused", "The Kubernetes API refused a request of the operator."
    REFERENCE_INVALID = "ReferenceInvalid", "An object that the spec names exists, but is invalid itself."
    CONNECTOR_NOT_READY = "ConnectorNotReady", "The connector has not been set up yet."
    GATEWAY_NOT_CONFIGURED = "GatewayNotConfigured", "Neither the Connector nor the operator's settings name a gateway."
    SECRET_NOT_FOUND = "SecretNotFound", "A Secret, or a key of it, that an environment names is not there yet."
    FAULT = "Fault", "A fault of the operator or of a connector; it is tried again, and the operator's log has it."
    # what ends an attempt
    INVALID = "Invalid", "The spec is wrong; the message says where and what would be right."
    AGENT_CANNOT_RUN = "AgentCannotRun", "netunicorn's own executor runs serialized pipelines only."
    NOT_ALLOWED = "NotAllowed", "The namespace or user may not use this connector or node."
    QUORUM_NOT_MET = "QuorumNotMet", "Fewer executors than start.quorum can start or have checked in."
    PREPARATION_FAILED = "PreparationFailed", "An executor could not be prepared, and allocation.mode is AllOrNothing."
    TOO_MANY_FAILURES = "TooManyFailures", "More executors failed than failurePolicy.tolerate allows."
    CANNOT_START = "CannotStart", "Executors could not be started."
    ALLOCATE_DEADLINE_EXCEEDED = "AllocateDeadlineExceeded", "deadlines.allocate is over."
    PREPARE_DEADLINE_EXCEEDED = "PrepareDeadlineExceeded", "deadlines.prepare is over."
    HOLD_DEADLINE_EXCEEDED = "HoldDeadlineExceeded", "deadlines.hold is over; the attempt was cancelled."
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded", "deadlines.start is over."
    RUN_DEADLINE_EXCEEDED = "RunDeadlineExceeded", "deadlines.run is over; the executors were stopped."
    CLEANUP_DEADLINE_EXCEEDED = "CleanupDeadlineExceeded", "deadlines.cleanup is over; what was not shown to be gone is orphaned."
    CANCEL_REQUESTED = "CancelRequested", "spec.desiredState is Cancelled."
    DELETED = "Deleted", "The experiment was deleted."
    CONNECTOR_DELETED = "ConnectorDeleted", "A Connector or TargetNode in use was deleted."
    RECORDS_LOST = "RecordsLost", "The database does not know this attempt; it was restored to an earlier state."
    # how it ends well
    COMPLETED = "Completed", "The executors have ended, and no more failed than are tolerated."
    ORPHANS_RECORDED = "OrphansRecorded", "Some executors could not be shown to be gone; their nodes are not given out."


class ExecutorReason(Described):
    """Why an executor failed, was lost or was cancelled; one that its attempt's end stopped bears that end's reason.

    One whose environment cannot be had bears the Environment's reason.
    Kubernetes' own reasons for a container come through as they are.
    """

    # before it runs
    BUILD_FAILED = "BuildFailed", "Its environment could not be built."
    ARCHITECTURE_NOT_SUPPORTED = "ArchitectureNotSupported", "Its environment has no image for its node's architecture."
    IMAGE_PULL_FAILED = "ImagePullFailed", "Its image could not be pulled."
    COMMAND_FAILED = "CommandFailed", "A shell command of its environment failed."
    UNSCHEDULABLE = "Unschedulable", "Kubernetes finds no place for its pod."
    NODE_GONE = "NodeGone", "Its node does not exist any more."
    SUPERSEDED = "Superseded", "A later start of the same executor won."
    NOT_CHECKED_IN = "NotCheckedIn", "It did not check in before the start deadline."
    CANNOT_START = "CannotStart", "It was stopped before it started, or its connector says that waiting will not help."
    EXITED_BEFORE_CHECK_IN = "ExitedBeforeCheckIn", "It ended before it checked in."
    UNAUTHORIZED = "Unauthorized", "The deployment system refuses the credentials or what was asked with them."
    IMAGE_MISSING = "ImageMissing", "The node needs an image, and neither an Environment nor the operator names one."
    ENVIRONMENT_UNSUPPORTED = "EnvironmentUnsupported", "The node's connector cannot do what the environment asks for."
    SECRET_NOT_USABLE = "SecretNotUsable", "A Secret's value that its environment names is not UTF-8 text, or has a NUL in it."
    AGENT_UNSUPPORTED = "AgentUnsupported", "The node's connector cannot run the agent that the environment asks for."
    AGENT_NOT_AVAILABLE = "AgentNotAvailable", "The executor's program could not be brought to the node."
    PYTHON_MISSING = "PythonMissing", "There is no python3 (3.9 or later) in the image or on the node."
    QUOTA_EXCEEDED = "QuotaExceeded", "The namespace's quota has no room for its pod."
    POD_SECURITY_VIOLATED = "PodSecurityViolated", "The namespace's Pod Security level forbids its pod."
    POD_REFUSED = "PodRefused", "Kubernetes refused its pod."
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound", "Its namespace is so new that it has no ServiceAccount yet."
    NAMESPACE_TERMINATING = "NamespaceTerminating", "Its namespace is being deleted."
    NAMESPACE_GONE = "NamespaceGone", "Its namespace does not exist any more."
    START_FAILED = "StartFailed", "Its process could not be started."
    DIRECTORY_BROKEN = "DirectoryBroken", "Its directory on the node cannot be read."
    # while it runs
    AGENT_REFUSED = "AgentRefused", "The gateway refused its token, or does not know it."
    AGENT_FAULT = "AgentFault", "The executor ended by a fault of its own."
    SPOOL_LOCKED = "SpoolLocked", "Another executor lives in its directory."
    KILLED = "Killed", "It was killed, alone or together with its node."
    EXECUTOR_TIMED_OUT = "ExecutorTimedOut", "It was silent for longer than keepAlive."
    EXITED_CLEANLY = "ExitedCleanly", "It ended well and without a report, as reportResults: false says."
    EXITED = "Exited", "It ended without a report."
    OOM_KILLED = "OOMKilled", "It used more memory than its limit."
    EVICTED = "Evicted", "Its pod was evicted."
    CONNECTOR_DELETED = "ConnectorDeleted", "Its Connector or TargetNode was deleted."
    RUN_DEADLINE_EXCEEDED = "RunDeadlineExceeded", "It was stopped at deadlines.run."
    # while it is being stopped
    STILL_RUNNING = "StillRunning", "It was told to end, and has not yet."
    STILL_TERMINATING = "StillTerminating", "Its pod does not end; its node may be dead."
    NOT_CREATED = "NotCreated", "Its pod came and went while it was being made."
    LEFT_OVERS = "LeftOvers", "It has ended, but some of its processes have not."
    # as it reports
    TASK_FAILED = "TaskFailed", "A task failed."
    DEADLOCK = "Deadlock", "Tasks were left that can never start."
    GRAPH_INVALID = "GraphInvalid", "The executor could not understand its graph."
    AGENT_ERROR = "AgentError", "A fault of the executor itself."
    CANCELLED = "Cancelled", "It was cancelled."
    CANCEL_REQUESTED = "CancelRequested", "Its user cancelled it, and it was stopped."
    RECORDS_LOST = "RecordsLost", "The database does not know that it was started; it was restored to an earlier state."
    # netunicorn's own executor
    GRAPH_UNLOADABLE = "GraphUnloadable", "The executor could not load its serialized graph."
    UNREADABLE_REPORT = "UnreadableReport", "Its report is no report of netunicorn's executor."
    NO_REPORT = "NoReport", "It ended without the final report that was due."
    RESULT_TOO_LARGE = "ResultTooLarge", "Its result is larger than the gateway takes."


class OrphanReason(Described):
    """Why an executor could not be shown to be gone."""

    STOP_NOT_CONFIRMED = "StopNotConfirmed", "Its stop was not confirmed before deadlines.cleanup."
    CONNECTOR_GONE = "ConnectorGone", "Its Connector went before it was stopped."
    RESOURCE_GONE = "ResourceGone", "Its Experiment went before it was stopped."
    ATTEMPT_OVER = "AttemptOver", "Its attempt was over, as a restored database told."


class TaskReason(Described):
    """Why a task failed."""

    NON_ZERO_EXIT = "NonZeroExit", "The command ended with another exit code than 0."
    EXCEPTION = "Exception", "The Python code raised."
    TIMEOUT = "Timeout", "It ran for longer than its timeout."
    KILLED = "Killed", "A signal ended it."
    CRASHED = "Crashed", "Its process ended without an answer."
    INTERRUPTED = "Interrupted", "The executor was restarted while it ran."
    CANCELLED = "Cancelled", "The executor was cancelled while it ran."
    NOT_RUNNABLE = "NotRunnable", "Its object cannot be imported, or its interpreter is missing."
    FLAG_FAILED = "FlagFailed", "The flag could not be read or written as asked."


class EnvironmentReason(Described):
    """Of an Environment's conditions."""

    RESOLVED = "Resolved", "The image exists; status.images names its digest."
    BUILT = "Built", "The image is built; status.images names its digests."
    TAKEN_AS_WRITTEN = "TakenAsWritten", "The image is used as it is named; its registry was not asked."
    NOTHING_TO_BUILD = "NothingToBuild", "A shell environment needs no image."
    BUILD_NOT_AVAILABLE = "BuildNotAvailable", "The operator was given no builder (UNICORN_BUILDER) and what it needs."
    BUILDING = "Building", "The image is being built."
    BUILD_FAILED = "BuildFailed", "A step of the build failed; status.build says which, and how its log ends."
    BUILD_DEADLINE_EXCEEDED = "BuildDeadlineExceeded", "The build took longer than UNICORN_BUILD_DEADLINE, and was ended."
    BUILD_CANCELLED = "BuildCancelled", "Nobody waited for the build any more, and it was ended."
    BUILDER_WAITING = "BuilderWaiting", "The builder cannot start yet."
    BUILDER_BROKEN = "BuilderBroken", "The builder itself failed, again and again."
    PYTHON_MISSING = "PythonMissing", "The base has no Python of at least 3.9, and none can be added."
    PLATFORM_NOT_BUILDABLE = "PlatformNotBuildable", "No builder can run the commands of this platform."
    REFERENCE_NOT_FOUND = "ReferenceNotFound", "A ConfigMap or Secret that the spec names does not exist, or lacks the key."
    IMAGE_NOT_FOUND = "ImageNotFound", "The registry does not know the image."
    PLATFORM_MISSING = "PlatformMissing", "The image exists, but not for a platform that is asked for."
    REGISTRY_UNREACHABLE = "RegistryUnreachable", "The registry does not answer, or not as one does; it is asked again."
    REGISTRY_BUSY = "RegistryBusy", "The registry asks to wait, as for too many pulls; it is asked again."
    REGISTRY_UNAUTHORIZED = "RegistryUnauthorized", "The registry wants other credentials for the image."
    REGISTRY_REFUSED = "RegistryRefused", "The registry refuses what it is asked for."
    INVALID = "Invalid", "The spec is wrong; the message says where."


class ConnectorReason(Described):
    """Of a Connector's conditions."""

    REACHABLE = "Reachable", "The system answers."
    SYNCED = "Synced", "All nodes that the system offers have a TargetNode."
    UNREACHABLE = "Unreachable", "The system does not answer."
    UNAUTHORIZED = "Unauthorized", "The system refuses the credentials."
    INVALID = "Invalid", "The configuration is wrong; the message says where."
    UNKNOWN_CONNECTOR_TYPE = "UnknownConnectorType", "No connector of this type is installed."
    CONNECTOR_NOT_LOADABLE = "ConnectorNotLoadable", "The connector of this type cannot be imported."
    NOT_PERMITTED = "NotPermitted", "The operator was started without leave for this type."
    SECRET_NOT_FOUND = "SecretNotFound", "The Secret that credentialsSecretRef names does not exist."
    NO_GATEWAY = "NoGateway", "Neither the Connector nor the operator's settings name a gateway."
    CHECKING = "Checking", "The system has not answered for the first time yet."
    SECRET_BEING_DELETED = "SecretBeingDeleted", "The Secret with its credentials is being deleted; it stays while it is named."
    CONNECTOR_TIMED_OUT = "ConnectorTimedOut", "The system did not answer in time."
    BROKEN = "Broken", "The system answered with an error that the connector does not know."
    NO_STATE_DIRECTORY = "NoStateDirectory", "The directory for files on the operator's machine cannot be made."
    DIRECTORY_CLOSED = "DirectoryClosed", "Executors run under another user id, to which a directory is closed."
    FAULT = "Fault", "A fault of the connector's own; the operator's log has it."
    DISCOVERY_FAILED = "DiscoveryFailed", "The nodes could not be listed; those known stay."
    SYNC_FAILED = "SyncFailed", "Some TargetNodes could not be written; it is tried again."
    DELETING = "Deleting", "It is being deleted; its executors are stopped first."


class TargetNodeReason(Described):
    """Of a TargetNode's conditions."""

    AVAILABLE = "Available", "The node was seen at the last discovery."
    UNSCHEDULABLE = "Unschedulable", "spec.unschedulable is true."
    ORPHANED_EXECUTOR = "OrphanedExecutor", "Executors not shown to be gone keep all of its slots; stopping is retried."
    NOT_SEEN = "NotSeen", "The last discovery did not find it."
    UNREACHABLE = "Unreachable", "It does not answer."
    WRITTEN_BY_HAND = "WrittenByHand", "Discovery does not list it; it is taken at its word, by its address."
    CHECKING = "Checking", "Its Connector has not been asked for its nodes yet."
    INVALID = "Invalid", "The spec is wrong; the message says where."
    CONNECTOR_NOT_FOUND = "ConnectorNotFound", "Its Connector does not exist."
    CONNECTOR_UNHEALTHY = "ConnectorUnhealthy", "Its Connector is not healthy."
    DELETING = "Deleting", "It is being deleted; its executors are stopped first."


CONDITIONS: dict[str, type[Described]] = {
    "Experiment": ExperimentCondition,
    "Environment": EnvironmentCondition,
    "Connector": ConnectorCondition,
    "TargetNode": TargetNodeCondition,
}
REASONS: dict[str, type[Described]] = {
    "Experiment": ExperimentReason,
    "executor": ExecutorReason,
    "orphan": OrphanReason,
    "task": TaskReason,
    "Environment": EnvironmentReason,
    "Connector": ConnectorReason,
    "TargetNode": TargetNodeReason,
}
