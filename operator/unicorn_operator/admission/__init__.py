"""The admission webhooks: TLS, AdmissionReviews, certificates, registration. The rules are in unicorn_core.admission.

Runs in every replica, outside of the election. `serve_admission` is all that the operator starts; docs/decisions/admission.md
says why kopf does not serve it.
"""

from unicorn_operator.admission.registration import unregister
from unicorn_operator.admission.serving import serve_admission
from unicorn_operator.admission.settings import AdmissionSettings, configuration_name

__all__ = ["AdmissionSettings", "configuration_name", "serve_admission", "unregister"]
