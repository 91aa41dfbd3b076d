"""The connection to AWS: settings, error translation, paging, credentials that run out; and calls that moto lacks."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3.session
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from botocore.stub import Stubber
from pydantic import ValidationError

from inventory.aws import iam
from inventory.aws.account import Account, coverage_of
from inventory.aws.connection import AwsAccounts, AwsConnection, calling, pages
from inventory.aws.user_reading import UserReader
from inventory.documents.aws_iam import user_facts
from inventory.documents.aws_iam_items import Holder, service_credential
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
from inventory.model import ArtefactKind, Extent, ProviderName, ReadState, ScopeId
from inventory.providers.aws_iam import PROVIDER, Settings
from inventory.registry import load_provider
from reconciler.core.model import Effect, OutcomeState
from reconciler.revokers.aws_iam import AwsIamRevoker
from reconciler.revokers.aws_iam import Settings as RevokerSettings
from tests import builders
from tests.fakes.clock import FakeClock

WHERE = "123456789012"
HOLDER = Holder(
    provider=ProviderName("corp"),
    scope=ScopeId(WHERE),
    user_id="AIDAEXAMPLE123456",
    user_name="mara",
    shared=frozenset(),
)
SSC = {
    "UserName": "mara",
    "Status": "Active",
    "ServiceUserName": "mara-at-123456789012",
    "CreateDate": datetime(2026, 1, 1, tzinfo=UTC),
    "ServiceSpecificCredentialId": "ACCAEXAMPLE123EXAMPLE",
    "ServiceName": "codecommit.amazonaws.com",
}


@pytest.fixture(scope="module")
def client() -> BaseClient:
    """Build an IAM client that reaches nobody."""
    session = boto3.session.Session(aws_access_key_id="x", aws_secret_access_key="y", region_name="us-east-1")
    return session.client("iam", endpoint_url="http://127.0.0.1:9")


@pytest.fixture
def stub(client: BaseClient) -> Iterator[Stubber]:
    """Answer the client's calls by hand, parameters checked against AWS's own model."""
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def reply(code: str, status: int = 400) -> ClientError:
    """Build an error of AWS whose text names a person."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": "User: arn:aws:iam::1:user/mara is not authorized"},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "req-1"},
        },
        "ListAccessKeys",
    )


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (reply("AccessDenied", 403), Denied),
        (reply("InvalidClientTokenId", 403), Denied),
        (reply("ExpiredToken", 403), Denied),
        (reply("Throttling"), Throttled),
        (reply("NoSuchEntity", 404), ObjectMissing),
        (reply("DeleteConflict", 409), ObjectChanged),
        (reply("InvalidAction"), Unsupported),
        (reply("ReportInProgress", 404), Unavailable),
        (reply("ServiceFailure", 500), Unavailable),
        (reply("SomethingNew", 503), Unavailable),
        (reply("SomethingNew"), Misconfigured),
        (reply("", 502), Unavailable),
        (NoCredentialsError(), Denied),
        (ConnectTimeoutError(endpoint_url="http://x"), Unavailable),
        (ReadTimeoutError(endpoint_url="http://x"), Unavailable),
        (ParamValidationError(report="mara"), Misconfigured),
        (ResponseParserError("<html>mara"), Unavailable),
    ],
)
def test_every_failure_has_one_meaning_and_names_nobody(raised: Exception, expected: type[ProviderError]) -> None:
    """Each way to fail becomes the error whose disposition fits, with the operation and without AWS's text."""
    with pytest.raises(ProviderError) as caught, calling("ListAccessKeys", WHERE):
        raise raised
    assert type(caught.value) is expected
    assert "mara" not in str(caught.value)
    assert "ListAccessKeys" in str(caught.value)
    assert caught.value.__cause__ is raised


def test_other_errors_are_not_swallowed() -> None:
    """A defect of ours stays what it is."""
    with pytest.raises(KeyError), calling("ListAccessKeys", WHERE):
        raise KeyError("x")


def test_pages_follow_markers() -> None:
    """Every page is read, and the marker of each leads to the next."""
    asked: list[Mapping[str, object]] = []

    def call(**request: object) -> dict[str, Any]:
        asked.append(request)
        last = len(asked) == 3
        return {"IsTruncated": not last} | ({} if last else {"Marker": f"m{len(asked)}"})

    assert len(list(pages(call, "ListUsers", WHERE, MaxItems=5))) == 3
    assert asked == [{"MaxItems": 5}, {"MaxItems": 5, "Marker": "m1"}, {"MaxItems": 5, "Marker": "m2"}]


@pytest.mark.parametrize("page", [{"IsTruncated": True}, {"IsTruncated": True, "Marker": "same"}])
def test_a_cut_list_is_never_taken_for_a_whole_one(page: dict[str, Any]) -> None:
    """A page that says there is more without a way on, or sends us in a circle, is an error."""
    with pytest.raises(Unavailable, match="cut short"):
        list(pages(lambda **_: page, "ListUsers", WHERE))


def test_account_wide_service_credentials_are_paged(client: BaseClient, stub: Stubber) -> None:
    """The account-wide list asks for all users, follows its marker, and groups by user name."""
    operation = "list_service_specific_credentials"
    first = {"ServiceSpecificCredentials": [SSC], "IsTruncated": True, "Marker": "next"}
    second = {"ServiceSpecificCredentials": [SSC | {"UserName": "joan"}], "IsTruncated": False}
    stub.add_response(operation, first, {"AllUsers": True, "MaxItems": 1000})
    stub.add_response(operation, second, {"AllUsers": True, "MaxItems": 1000, "Marker": "next"})
    assert set(iam.read_all_service_credentials(client, WHERE)) == {"mara", "joan"}


def test_service_credentials_of_one_user(client: BaseClient, stub: Stubber) -> None:
    """The service-specific credentials of one user become credentials with their AWS id as address."""
    stub.add_response("list_service_specific_credentials", {"ServiceSpecificCredentials": [SSC]}, {"UserName": "mara"})
    (item,) = iam.LIVE_READS[ArtefactKind.SERVICE_CREDENTIAL](client, HOLDER)
    assert item.enabled
    assert dict(item.address)["service_specific_credential_id"] == SSC["ServiceSpecificCredentialId"]


def account(client: BaseClient, **changes: Any) -> Account:
    """Build an account whose bulk read is whole."""
    bulk = iam.Bulk(users=(), groups={}, roles=(), failure=None)
    return Account(**({"client": client, "scope": ScopeId(WHERE), "bulk": bulk} | changes))


def test_list_of_service_credentials_counts_for_everybody(client: BaseClient) -> None:
    """With an account-wide list the kind covers everybody; a refused list with nobody asked is denied."""
    whole = coverage_of(account(client, service_credentials={}), (), ())
    refused = coverage_of(account(client, service_failure=Denied("no")), (), ())
    by_kind = [{entry.kind: entry for entry in coverage} for coverage in (whole, refused)]
    first, second = (one[ArtefactKind.SERVICE_CREDENTIAL] for one in by_kind)
    assert (first.state, first.extent) == (ReadState.COMPLETE, Extent.ALL)
    assert (second.state, second.extent) == (ReadState.DENIED, Extent.OF_INTEREST)


def test_listed_service_credentials_are_not_asked_for_again(client: BaseClient, stub: Stubber) -> None:
    """A person of interest gets the credentials of the account-wide list without another call."""
    conventions = Settings().conventions()
    others = [kind for kind in iam.LIVE_READS if kind is not ArtefactKind.SERVICE_CREDENTIAL]
    reader = UserReader(ProviderName("corp"), conventions, others)
    facts = user_facts({"UserId": "AIDAEXAMPLE123456", "UserName": "mara", "Arn": "arn"})
    reading = reader.beside_bulk(client, HOLDER, facts, account(client).bulk, [SSC])
    assert [item.kind for item in reading.items] == [ArtefactKind.ACCOUNT, ArtefactKind.SERVICE_CREDENTIAL]


@pytest.mark.parametrize(
    ("effect", "operation", "more"),
    [
        (Effect.QUARANTINE, "update_service_specific_credential", {"Status": "Inactive"}),
        (Effect.REVOKE, "delete_service_specific_credential", {}),
    ],
)
def test_service_credentials_are_taken_away(
    client: BaseClient, stub: Stubber, monkeypatch: pytest.MonkeyPatch, effect: Effect, operation: str, more: Any
) -> None:
    """A service-specific credential is suspended or removed by one call with its id, after the check of whose it is."""
    revoker = AwsIamRevoker(ProviderName("corp"), RevokerSettings(), FakeClock())
    monkeypatch.setattr(revoker._accounts, "reaching", lambda _: client)
    item = service_credential(HOLDER, SSC)
    owner = builders.principal("AIDAEXAMPLE123456", scope=ScopeId(WHERE), address=(("user_name", "mara"),))
    user = {
        "Path": "/",
        "UserName": "mara",
        "UserId": "AIDAEXAMPLE123456",
        "Arn": "a" * 20,
        "CreateDate": builders.NOW,
    }
    stub.add_response("get_user", {"User": user}, {"UserName": "mara"})
    if effect is Effect.QUARANTINE:
        listed = {"ServiceSpecificCredentials": [SSC]}
        stub.add_response("list_service_specific_credentials", listed, {"UserName": "mara"})
    request = {"UserName": "mara", "ServiceSpecificCredentialId": SSC["ServiceSpecificCredentialId"], **more}
    stub.add_response(operation, {}, request)
    act = revoker.quarantine if effect is Effect.QUARANTINE else revoker.revoke
    assert act(builders.action(owner, item, effect)).outcome is OutcomeState.DONE


def test_report_is_waited_for_within_bounds(client: BaseClient, stub: Stubber) -> None:
    """A report that is not ready is asked for again on the clock handed in, and given up in time."""
    clock = FakeClock()
    stub.add_response("generate_credential_report", {"State": "STARTED"}, {})
    for _ in range(4):
        stub.add_client_error("get_credential_report", "ReportInProgress", http_status_code=404)
    with pytest.raises(Unavailable):
        iam.read_report(client, WHERE, clock, 3.0)
    assert clock.slept == [1.0, 1.0, 1.0]


def test_credentials_of_a_role_are_renewed_before_they_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role is entered once for many calls, and again when its credentials have under five minutes left."""
    clock = FakeClock()
    settings = AwsConnection(account_ids=(WHERE,), role_name="reader", access_key_id=None)
    accounts = AwsAccounts(settings, clock, config=Config())
    entered: list[str] = []

    class Sts:
        """Gives credentials for an hour."""

        def assume_role(self, **request: str) -> dict[str, Any]:
            """Note whose role is entered."""
            entered.append(request["RoleArn"])
            keys = {"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"}
            return {"Credentials": keys | {"Expiration": clock.now() + timedelta(hours=1)}}

    monkeypatch.setattr(accounts, "_client", lambda service, *_: Sts() if service == "sts" else object())
    first = accounts.iam(WHERE)
    assert accounts.iam(WHERE) is first
    clock.sleep(54 * 60)
    assert accounts.iam(WHERE) is first
    clock.sleep(2 * 60)
    assert accounts.iam(WHERE) is not first
    assert entered == ["arn:aws:iam::123456789012:role/reader"] * 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_key_id": "AKIA"},
        {"secret_access_key_file": "/run/secret"},
        {"profile": "p", "access_key_id": "AKIA", "secret_access_key_file": "/run/secret"},
        {"account_ids": (WHERE,)},
        {"account_ids": ("12345678901",), "role_name": "r"},
        {"account_ids": (WHERE, WHERE), "role_name": "r"},
        {"accounts": ({"account_id": WHERE},), "account_ids": (WHERE,), "role_name": "r"},
        {"secret_access_key": "the value itself"},
        {"exclude": ("account",)},
        {"exclude": ("principal",)},
        {"max_workers": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    """Contradictions, unknown keys, secrets by value and exclusions that leave nothing are refused."""
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    """A secret file that cannot be read is named by path."""
    settings = AwsConnection(access_key_id="AKIA", secret_access_key_file=tmp_path / "none")
    with pytest.raises(Misconfigured, match="none"):
        AwsAccounts(settings, FakeClock(), config=Config())


def test_every_setting_is_described() -> None:
    """Every key of the reader's and the revoker's settings says what it is for."""
    for settings in (Settings, RevokerSettings):
        assert not [name for name, field in settings.model_fields.items() if not field.description]


def test_the_registry_opens_the_provider() -> None:
    """A configuration names the provider by its type."""
    assert load_provider("aws_iam") is PROVIDER
