"""Service-specific credentials, which moto lacks: a fake of ours in front of it, strict about parameters."""

from dataclasses import dataclass, field

from tests.fakes.counting_proxy import Form, Reply, error_reply

_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"


@dataclass(slots=True)
class ServiceCredentials:
    """Answers the operations on service-specific credentials; a `Fault` of the counting proxy."""

    held: dict[str, tuple[str, str]] = field(default_factory=dict)
    """User name and status by credential id."""

    def create(self, user_name: str) -> str:
        """Give a user an active credential and return its id."""
        made = f"ACCAEXAMPLE{len(self.held):012d}"
        self.held[made] = (user_name, "Active")
        return made

    def __call__(self, form: Form, _: int) -> Reply | None:
        action = form["Action"]
        if not action.endswith(("ServiceSpecificCredential", "ServiceSpecificCredentials")):
            return None
        if action == "ListServiceSpecificCredentials":
            return self._listed(form)
        local_id = form["ServiceSpecificCredentialId"]
        if self.held.get(local_id, ("", ""))[0] != form["UserName"]:
            return error_reply("NoSuchEntity", 404)
        if action == "UpdateServiceSpecificCredential":
            self.held[local_id] = (form["UserName"], form["Status"])
        else:
            del self.held[local_id]
        return _reply(action, "")

    def _listed(self, form: Form) -> Reply:
        wanted = None if form.get("AllUsers") == "true" else form["UserName"]
        members = "".join(
            f"<member><UserName>{user_name}</UserName><Status>{status}</Status>"
            f"<ServiceUserName>{user_name}-at-aws</ServiceUserName><CreateDate>2026-01-01T00:00:00Z</CreateDate>"
            f"<ServiceSpecificCredentialId>{local_id}</ServiceSpecificCredentialId>"
            "<ServiceName>codecommit.amazonaws.com</ServiceName></member>"
            for local_id, (user_name, status) in self.held.items()
            if wanted in {None, user_name}
        )
        body = f"<ServiceSpecificCredentials>{members}</ServiceSpecificCredentials><IsTruncated>false</IsTruncated>"
        return _reply(form["Action"], body)


def _reply(action: str, body: str) -> Reply:
    text = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{body}</{action}Result>'
        f"<ResponseMetadata><RequestId>req-fake</RequestId></ResponseMetadata></{action}Response>"
    )
    return Reply(status=200, body=text.encode())
