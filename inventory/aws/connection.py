"""The one way to AWS: settings of a connection, one session with a client for each account, paging, error translation.

Readers and revokers both come through here, each with settings and credentials of its own. One boto3 session serves
all accounts, because another client of the same session costs 8 ms and 0.4 MB while another session costs 110 ms and
10 MB; clients of accounts entered by role are rebuilt before their credentials run out.
"""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import boto3.session
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from inventory.aws.timestamps import new_session
from inventory.errors import (
    Denied,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Throttled,
    Unavailable,
    Unsupported,
)
from inventory.provider import Clock
from inventory.regular_files import read_regular

_MOST_SECRET_BYTES: Final = 64 * 1024
OPEN_ACCOUNTS_DEFAULT: Final = 64
"""Clients kept at a time: 64 cost about 26 MB."""
CREDENTIALS_MARGIN: Final = timedelta(minutes=5)
"""Credentials of an entered role are renewed when they have less than this left."""

AccountId = str


class AccountSettings(BaseModel):
    """One account to enter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account_id: str = Field(pattern=r"^\d{12}$", description="The 12-digit account id.")
    role_arn: str | None = Field(
        default=None, description="Role to assume there; none means that our own credentials are of this account."
    )


class AwsConnection(BaseModel):
    """How to reach AWS, and which accounts. Secrets are named by file path, never by value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str = Field(default="us-east-1", description="Region of the STS endpoint; IAM itself is global.")
    endpoint_url: str | None = Field(default=None, description="Another address for every AWS call (tests, proxies).")
    profile: str | None = Field(default=None, description="Named profile of the shared AWS configuration files.")
    access_key_id: str | None = Field(default=None, description="Id of a static access key; roles are better.")
    secret_access_key_file: Path | None = Field(default=None, description="File that holds the key's secret.")
    accounts: tuple[AccountSettings, ...] = Field(
        default=(), description="Accounts with a role each. Empty, and no `account_ids`: the caller's own account."
    )
    account_ids: tuple[str, ...] = Field(default=(), description="Accounts entered through the role `role_name`.")
    role_name: str | None = Field(
        default=None, description="Name, with path, of the role to assume in each of `account_ids`."
    )
    partition: str = Field(default="aws", description="`aws`, `aws-cn` or `aws-us-gov`; part of the role ARNs.")
    external_id: str | None = Field(default=None, description="External id that the roles' trust policies ask for.")
    session_name: str = Field(default="access-reconciler", description="Session name that CloudTrail shows.")
    connect_timeout_seconds: float = Field(default=5.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout_seconds: float = Field(default=30.0, gt=0, description="Seconds to wait for a reply.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key_file is None):
            msg = "access_key_id and secret_access_key_file go together"
            raise ValueError(msg)
        if self.profile is not None and self.access_key_id is not None:
            msg = "give either profile or access_key_id, not both"
            raise ValueError(msg)
        if bool(self.account_ids) and self.role_name is None:
            msg = "account_ids need a role_name"
            raise ValueError(msg)
        ids = self.scopes()
        if any(len(one) != 12 or not one.isdigit() for one in ids):  # noqa: PLR2004 - an AWS account id has 12 digits
            msg = "an account id has 12 digits; quote it, or YAML drops leading zeros"
            raise ValueError(msg)
        if len(set(ids)) != len(ids):
            msg = "an account is named twice"
            raise ValueError(msg)
        return self

    def scopes(self) -> tuple[AccountId, ...]:
        """Return the configured accounts; none means the caller's own."""
        return (*(account.account_id for account in self.accounts), *self.account_ids)

    def role_of(self, account_id: AccountId) -> str | None:
        """Return the ARN of the role to assume in an account; None for our own credentials."""
        for account in self.accounts:
            if account.account_id == account_id:
                return account.role_arn
        if account_id in self.account_ids:
            return f"arn:{self.partition}:iam::{account_id}:role/{self.role_name}"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who AWS says we are."""

    account_id: AccountId
    user_id: str | None
    """Unique id when we are an IAM user, which is a principal like any other; None for a role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    client: BaseClient
    expires_at: datetime | None


class AwsAccounts:
    """The clients of all accounts of one connection. Safe to use from many threads."""

    def __init__(self, settings: AwsConnection, clock: Clock, *, config: Config) -> None:
        self._settings = settings
        self._clock = clock
        self._config = config.merge(
            Config(
                connect_timeout=settings.connect_timeout_seconds,
                read_timeout=settings.read_timeout_seconds,
                user_agent_extra="access-reconciler",
            )
        )
        self._lock = threading.Lock()
        self._opened: OrderedDict[AccountId | None, _Opened] = OrderedDict()
        self._calls: Counter[AccountId | None] = Counter()
        self._throttles: Counter[AccountId | None] = Counter()
        self._own_account: AccountId | None = None
        with calling("credentials", "own session"):
            self._session = boto3.session.Session(
                botocore_session=new_session(),
                region_name=settings.region,
                profile_name=settings.profile,
                aws_access_key_id=settings.access_key_id,
                aws_secret_access_key=_secret(settings.secret_access_key_file),
            )

    def iam(self, account_id: AccountId | None) -> BaseClient:
        """Return the IAM client of an account (None: the caller's own), entering its role when needed."""
        with self._lock:
            opened = self._opened.get(account_id)
            if opened is not None and self._fresh(opened):
                self._opened.move_to_end(account_id)
                return opened.client
        opened = self._open(account_id)
        with self._lock:
            self._opened[account_id] = opened
            while len(self._opened) > OPEN_ACCOUNTS_DEFAULT:
                self._opened.popitem(last=False)
        return opened.client

    def caller(self, account_id: AccountId | None = None) -> Caller:
        """Ask STS who our own credentials belong to; the call is counted for `account_id`."""
        where = account_id or "our own account"
        with calling("GetCallerIdentity", where):
            reply = self._client("sts", account_id, {}).get_caller_identity()
        user_id = str(reply["UserId"]) if ":user/" in str(reply["Arn"]) else None
        self._own_account = str(reply["Account"])
        return Caller(account_id=self._own_account, user_id=user_id)

    def reaching(self, account_id: AccountId) -> BaseClient:
        """Return the IAM client of an account, sure that it reaches that account and no other.

        In another account every user would look gone. A role's ARN names its account; for our own credentials STS is
        asked once, since a session keeps its identity. Raises `inventory.errors.ProviderError`.
        """
        configured = account_id if account_id in self._settings.scopes() else None
        if configured is None or self._settings.role_of(configured) is None:
            own = self._own_account or self.caller(configured).account_id
            if own != account_id:
                raise Misconfigured(
                    f"our credentials are of account {own}, not of {account_id}",
                    advice="configure the account with a role, or give credentials of that account",
                )
        return self.iam(configured)

    def calls(self, account_id: AccountId | None) -> int:
        """Return how many HTTP requests were sent for an account so far, retries included."""
        with self._lock:
            return self._calls[account_id]

    def throttles(self, account_id: AccountId | None) -> int:
        """Return how many of those requests were answered with: slow down."""
        with self._lock:
            return self._throttles[account_id]

    def close(self) -> None:
        """Close the connections of every client."""
        with self._lock:
            for opened in self._opened.values():
                opened.client.close()
            self._opened.clear()

    def _fresh(self, opened: _Opened) -> bool:
        return opened.expires_at is None or opened.expires_at - self._clock.now() > CREDENTIALS_MARGIN

    def _open(self, account_id: AccountId | None) -> _Opened:
        role_arn = None if account_id is None else self._settings.role_of(account_id)
        if role_arn is None or account_id is None:
            return _Opened(client=self._client("iam", account_id, {}), expires_at=None)
        request = {"RoleArn": role_arn, "RoleSessionName": self._settings.session_name}
        if self._settings.external_id is not None:
            request["ExternalId"] = self._settings.external_id
        with calling("AssumeRole", account_id):
            granted = self._client("sts", account_id, {}).assume_role(**request)["Credentials"]
        keys = {
            "aws_access_key_id": granted["AccessKeyId"],
            "aws_secret_access_key": granted["SecretAccessKey"],
            "aws_session_token": granted["SessionToken"],
        }
        return _Opened(client=self._client("iam", account_id, keys), expires_at=granted["Expiration"])

    def _client(self, service: str, account_id: AccountId | None, keys: Mapping[str, str]) -> BaseClient:
        # boto3: clients are thread-safe, creating them from one session is not.
        with self._lock, calling("client", service):
            client = self._session.client(
                service, endpoint_url=self._settings.endpoint_url, config=self._config, **keys
            )

        def count(**_: object) -> None:
            with self._lock:
                self._calls[account_id] += 1

        def notice(parsed_response: Mapping[str, Any] | None = None, **_: object) -> None:
            if (parsed_response or {}).get("Error", {}).get("Code") in _SLOW_DOWN:
                with self._lock:
                    self._throttles[account_id] += 1

        client.meta.events.register("before-send", count)
        client.meta.events.register("response-received", notice)
        return client


def _secret(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return read_regular(path, _MOST_SECRET_BYTES).decode("ascii").strip()
    except UnicodeDecodeError:
        # Without the cause: it holds the bytes.
        raise Misconfigured(f"{path} holds no AWS secret key", advice="write the secret key as text") from None
    except OSError as error:
        raise Misconfigured(
            f"the secret of the AWS access key cannot be read from {path}: {error.strerror}",
            advice="check that the file exists and that the service may read it",
        ) from error


def pages(
    call: Callable[..., Mapping[str, Any]], operation: str, where: str, **request: object
) -> Iterator[Mapping[str, Any]]:
    """Yield every page of an IAM list operation.

    Stricter than botocore's paginator, which takes a cut page without a marker for the last one: here that is an
    error, as is a marker that comes back twice.

    Raises `inventory.errors.ProviderError`.
    """
    seen: set[str] = set()
    marker: dict[str, str] = {}
    while True:
        with calling(operation, where):
            page = call(**request, **marker)
        yield page
        if not page.get("IsTruncated"):
            return
        following = page.get("Marker")
        if not following or following in seen:
            raise Unavailable(
                f"{operation} in {where} was cut short: the reply says there is more and gives no way on",
                advice="the next cycle asks again; if it persists, look at what stands between us and AWS",
            )
        seen.add(following)
        marker = {"Marker": following}


_SLOW_DOWN: Final = frozenset(
    {"RequestLimitExceeded", "RequestThrottled", "SlowDown", "Throttling", "ThrottlingException"}
    | {"TooManyRequestsException"}
)
_REPLIES: Final[tuple[tuple[type[ProviderError], str, frozenset[str]], ...]] = (
    (
        Throttled,
        "a smaller max_workers asks more slowly; the next cycle asks again",
        _SLOW_DOWN,
    ),
    (
        Denied,
        "check the credentials, and that they hold the right to this operation",
        frozenset(
            {
                "AccessDenied",
                "AccessDeniedException",
                "AuthFailure",
                "ExpiredToken",
                "ExpiredTokenException",
                "InvalidAccessKeyId",
                "InvalidClientTokenId",
                "MissingAuthenticationToken",
                "OptInRequired",
                "SignatureDoesNotMatch",
                "UnauthorizedOperation",
                "UnrecognizedClientException",
            }
        ),
    ),
    (ObjectMissing, "", frozenset({"NoSuchEntity", "NoSuchEntityException"})),
    (
        ObjectChanged,
        "the next cycle reads again and plans anew",
        frozenset({"ConcurrentModification", "DeleteConflict", "EntityAlreadyExists"}),
    ),
    (
        Unsupported,
        "exclude the artefact kind, or use an endpoint that offers it",
        frozenset({"InvalidAction", "NotImplemented", "NotSupportedService", "UnknownOperationException"}),
    ),
    (
        Unavailable,
        "the next cycle asks again",
        frozenset(
            {
                "EntityTemporarilyUnmodifiable",
                "InternalFailure",
                "ReportExpired",
                "ReportInProgress",
                "ReportNotPresent",
                "RequestExpired",
                "ServiceFailure",
                "ServiceUnavailable",
            }
        ),
    ),
)
"""What the error codes of IAM and STS mean for the reader of an error."""
_SERVER_ERROR: Final = 500


@contextmanager
def calling(operation: str, where: str) -> Iterator[None]:
    """Turn whatever botocore raises into `inventory.errors`, naming the operation and the account.

    The texts of AWS are left out, for they name people; codes and request ids stay.
    """
    try:
        yield
    except ClientError as error:
        raise _from_reply(error, operation, where) from error
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise Denied(
            f"no usable AWS credentials for {operation} in {where} ({type(error).__name__})",
            advice="give a profile, a key with its secret file, or an instance or pod role",
        ) from error
    except ParamValidationError as error:
        raise Misconfigured(f"{operation} in {where} was refused before it was sent") from error
    except ResponseParserError as error:
        raise Unavailable(
            f"{operation} in {where} was answered by something that is not the AWS API",
            advice="look at proxies on the way; the endpoint may not offer this operation",
        ) from error
    except BotoCoreError as error:
        raise Unavailable(f"{operation} in {where} got no reply ({type(error).__name__})") from error


def _from_reply(error: ClientError, operation: str, where: str) -> ProviderError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    metadata = error.response.get("ResponseMetadata", {})
    said = f"{operation} in {where}: {code or 'no code'} (request {metadata.get('RequestId', 'unknown')})"
    for kind, advice, codes in _REPLIES:
        if code in codes:
            return kind(said, advice=advice)
    if int(metadata.get("HTTPStatusCode", 0)) >= _SERVER_ERROR:
        return Unavailable(said, advice="the next cycle asks again")
    return Misconfigured(said, advice="AWS did not accept the request; see the code in its documentation")
