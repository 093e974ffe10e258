"""How much is too much: the limits of the protocol and of this process."""

KIB, MIB = 1024, 1024 * 1024
EVENTS_BODY = 1 * MIB
RESULT_BODY = 1 * MIB + 64 * KIB  # results of 1 MiB and what stands around them
FLAG_BODY = 512 * KIB  # 64 KiB of text, each character perhaps escaped
BLOB_PART = 4 * MIB
REPORT = 4 * MIB  # one that is not final; the final one is a blob
BLOB = 64 * MIB
BLOBS_OF_EXECUTOR = 512 * MIB
LOG_QUOTA = 100 * MIB
FLAGS = 10_000
V1_REPORT = 32 * MIB  # the body of a report of netunicorn's executor, which has all results and all of its log
V1_LARGE = 1 * MIB  # a larger one waits until fewer are being read than
V1_LARGE_AT_ONCE = 4
V1_DRAINED = 512 * MIB  # of a report that is too large: read to its end, for its sender hears no answer before
HELD_STRANGERS = 2000  # refusals of invalid tokens that are kept back; those beyond are given at once
V1_LOG_CHUNK = 16 * KIB  # characters of netunicorn's log in a row
