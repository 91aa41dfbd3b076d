"""A throw-away OpenLDAP server: own configuration and data in one folder, on loopback, with three bind identities.

The administrator seeds it; reader and revoker have exactly the rights that `deploy/ldap/` shows (a test compares them).
"""

import base64
import hashlib
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ldap

from reconciler.demo.process import RunningServer, ServerCommand, ServerFailed, free_port, start_server

BASE_DN = "dc=example,dc=com"
PEOPLE_DN = f"ou=people,{BASE_DN}"
GROUPS_DN = f"ou=groups,{BASE_DN}"
SERVICES_DN = f"ou=services,{BASE_DN}"
POLICY_DN = f"cn=default,ou=policies,{BASE_DN}"
"""The default password policy."""
ADMIN_DN = f"cn=admin,{BASE_DN}"
READER_DN = f"cn=access-reconciler-reader,{SERVICES_DN}"
REVOKER_DN = f"cn=access-reconciler-revoker,{SERVICES_DN}"

_SCHEMA_FOLDER = Path("/etc/ldap/schema")
_MODULE_FOLDER = Path("/usr/lib/ldap")
_SCHEMAS = ("core", "cosine", "nis", "inetorgperson")
_OPENSSH_SCHEMA = """\
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey' DESC 'OpenSSH public key'
  EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )
"""

ACCOUNT_ATTRIBUTES = (
    "entry,ref,objectClass,entryUUID,entryCSN,createTimestamp,pwdAccountLockedTime,pwdLastSuccess,"
    "uid,cn,mail,employeeNumber,owner,manager,seeAlso,sshPublicKey"
)
"""What the reader is shown of an account."""
GROUP_ATTRIBUTES = "entry,ref,objectClass,entryUUID,entryCSN,cn,member,uniqueMember,memberUid"
"""What the reader is shown of a group."""


def reader_access() -> str:
    """Return the access rules that the reader needs; `by * break` lets the site's own rules follow."""
    by = f'  by dn.exact="{READER_DN}" read\n  by * break\n'
    return (
        f'access to dn.base="{BASE_DN}" attrs=entry,objectClass\n{by}'
        + "".join(f'access to dn.subtree="{dn}" attrs={ACCOUNT_ATTRIBUTES}\n{by}' for dn in (PEOPLE_DN, SERVICES_DN))
        + f'access to dn.subtree="{GROUPS_DN}" attrs={GROUP_ATTRIBUTES}\n{by}'
        f'access to dn.base="{POLICY_DN}" attrs=entry,objectClass,pwdLockout\n{by}'
    )


def revoker_access() -> str:
    """Return the access rules that the revoker needs to lock accounts, and to remove SSH keys and memberships."""
    who = f'  by dn.exact="{REVOKER_DN}" '
    read, write = f"{who}read\n  by * break\n", f"{who}write\n  by * break\n"
    people = (PEOPLE_DN, SERVICES_DN)
    return (
        f'access to dn.base="{BASE_DN}" attrs=entry,objectClass\n{read}'
        + "".join(
            f'access to dn.subtree="{dn}" attrs=sshPublicKey,pwdAccountLockedTime\n{write}'
            f'access to dn.subtree="{dn}" attrs=entry,objectClass,entryUUID,uid\n{read}'
            for dn in people
        )
        + f'access to dn.subtree="{GROUPS_DN}" attrs=member,uniqueMember,memberUid\n{write}'
        + f'access to dn.subtree="{GROUPS_DN}" attrs=entry,objectClass,entryUUID\n{read}'
    )


def revoker_delete_access() -> str:
    """Return the rules with which the revoker may also delete accounts; they stand before `revoker_access`.

    Deleting needs `z` on the entry and on its parent's `children`; reading all attributes is for the before-image.
    """
    who = f'  by dn.exact="{REVOKER_DN}" '
    return "".join(
        f'access to dn.base="{dn}" attrs=children\n{who}=z\n  by * break\n'
        f'access to dn.children="{dn}" attrs=entry\n{who}=zrscxd\n  by * break\n'
        f'access to dn.children="{dn}" attrs=sshPublicKey,pwdAccountLockedTime\n{who}write\n  by * break\n'
        f'access to dn.children="{dn}"\n{who}read\n  by * break\n'
        for dn in (PEOPLE_DN, SERVICES_DN)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files with which the server also offers StartTLS and ldaps://."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a test may want otherwise; the defaults are the demo's."""

    may_delete: bool = False
    """The revoker may delete accounts."""
    lockout: bool = True
    """`pwdLockout` of the default password policy: without it OpenLDAP ignores every lock."""
    seed: str = ""
    """LDIF loaded together with the base tree, before the start: much faster than single adds."""
    extra_access: str = ""
    """Access rules put before all others."""
    paged_total: str = "unlimited"
    """Most entries that all pages of one search may hold; `hard` is slapd's own default, here 1000."""
    tls: TlsFiles | None = None


def start(directory: Path, options: Options | None = None) -> RunningServer:
    """Start slapd with an empty company in `directory`; raises `ServerFailed` when it is missing or does not come up.

    `details` holds `base_dn`, and for each of admin, reader and revoker `<name>_dn` and `<name>_password_file`.
    """
    options = options or Options()
    slapd = shutil.which("slapd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
    if slapd is None:
        raise ServerFailed("slapd is not installed (Debian: apt install slapd)")
    directory.mkdir(parents=True, exist_ok=True)
    passwords = {name: secrets.token_urlsafe(24) for name in ("admin", "reader", "revoker")}
    details = {"base_dn": BASE_DN, "admin_dn": ADMIN_DN, "reader_dn": READER_DN, "revoker_dn": REVOKER_DN}
    details["policy_dn"] = POLICY_DN
    for name, password in passwords.items():
        details[f"{name}_password_file"] = str(_private_file(directory / f"{name}.password", password))
    configuration = _configure(directory, passwords, options)
    account = _account_for(directory)
    _load(slapd, configuration, _base_tree(passwords, lockout=options.lockout) + "\n" + options.seed)
    _hand_over(directory, account)
    port = free_port()
    url = f"ldap://127.0.0.1:{port}"
    listen = f"{url}/"
    if options.tls is not None:
        secure = free_port()
        details["ldaps_url"] = f"ldaps://127.0.0.1:{secure}"
        listen += f" ldaps://127.0.0.1:{secure}/"
    as_account = ("-u", account.pw_name, "-g", str(account.pw_gid)) if account is not None else ()
    command = (slapd, "-d", "0", "-h", listen, "-f", str(configuration), *as_account)
    return start_server(
        ServerCommand(name="slapd", command=command, url=url, details=details),
        log=directory / "slapd.log",
        ready=lambda: _answers(url),
    )


def _private_file(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def _hashed(password: str) -> str:
    """Return a salted hash as slapd's `{SSHA}` stores it; the passwords are random and live as long as the server."""
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password.encode("utf-8") + salt, usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + salt).decode("ascii")


def _configure(directory: Path, passwords: Mapping[str, str], options: Options) -> Path:
    for name in ("data", "accesslog"):
        shutil.rmtree(directory / name, ignore_errors=True)
        (directory / name).mkdir(mode=0o700)
    openssh = directory / "openssh-lpk.schema"
    openssh.write_text(_OPENSSH_SCHEMA, encoding="utf-8")
    includes = "".join(f"include {_SCHEMA_FOLDER / name}.schema\n" for name in _SCHEMAS) + f"include {openssh}\n"
    modules = "".join(f"moduleload {name}\n" for name in ("back_mdb", "ppolicy", "accesslog"))
    tls = ""
    if options.tls is not None:
        tls = (
            f"TLSCertificateFile {options.tls.certificate}\nTLSCertificateKeyFile {options.tls.key}\n"
            f"TLSCACertificateFile {options.tls.authority}\n"
        )
    text = (
        f"{includes}modulepath {_MODULE_FOLDER}\n{modules}{tls}"
        f"sizelimit size.soft=500 size.hard=1000 size.pr=unlimited size.prtotal={options.paged_total}\n"
        f'\ndatabase mdb\nsuffix "cn=accesslog"\nrootdn "{ADMIN_DN}"\ndirectory {directory / "accesslog"}\n'
        "maxsize 67108864\nindex entryCSN,objectClass,reqEnd,reqResult,reqStart eq\naccess to * by * none\n"
        f'\ndatabase mdb\nsuffix "{BASE_DN}"\nrootdn "{ADMIN_DN}"\nrootpw {_hashed(passwords["admin"])}\n'
        f"directory {directory / 'data'}\nmaxsize 268435456\nlastbind on\n"
        "index objectClass,entryUUID,uid,mail,employeeNumber,member,uniqueMember,memberUid eq\n"
        f"{options.extra_access}access to attrs=userPassword by anonymous auth by * none\n"
        f"{reader_access()}{revoker_delete_access() if options.may_delete else ''}{revoker_access()}"
        "access to * by * none\n"
        f'overlay ppolicy\nppolicy_default "{POLICY_DN}"\n'
        "overlay accesslog\nlogdb cn=accesslog\nlogops writes\nlogsuccess TRUE\n"
    )
    return _private_file(directory / "slapd.conf", text)


def _base_tree(passwords: Mapping[str, str], *, lockout: bool) -> str:
    units = "".join(
        f"dn: ou={name},{BASE_DN}\nobjectClass: organizationalUnit\nou: {name}\n\n"
        for name in ("people", "groups", "services", "policies")
    )
    binds = "".join(
        f"dn: {dn}\nobjectClass: applicationProcess\nobjectClass: simpleSecurityObject\n"
        f"cn: access-reconciler-{name}\nuserPassword: {_hashed(passwords[name])}\n\n"
        for name, dn in (("reader", READER_DN), ("revoker", REVOKER_DN))
    )
    return (
        f"dn: {BASE_DN}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n{units}"
        f"dn: {POLICY_DN}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: default\n"
        f"pwdAttribute: userPassword\npwdLockout: {'TRUE' if lockout else 'FALSE'}\n\n{binds}"
    )


def _load(slapd: str, configuration: Path, ldif: str) -> None:
    """Load entries before the start by slapd's own slapadd, which it becomes with `-T add`."""
    command = (slapd, "-T", "add", "-q", "-f", str(configuration), "-b", BASE_DN)
    loaded = subprocess.run(command, input=ldif.encode("utf-8"), capture_output=True, check=False)
    if loaded.returncode != 0:
        tail = loaded.stderr.decode("utf-8", errors="replace")[-2000:]
        raise ServerFailed(f"slapd did not take its first entries:\n{tail}")


def _account_for(directory: Path) -> pwd.struct_passwd | None:
    """Return the account that slapd shall run under: `openldap` when we are root and it can reach the folder.

    Below a folder that is closed to others (a private temporary one) it could not; slapd then runs as we do.
    """
    if os.geteuid() != 0 or any(not parent.stat().st_mode & 0o001 for parent in directory.resolve().parents):
        return None
    try:
        return pwd.getpwnam("openldap")
    except KeyError:
        return None


def _hand_over(directory: Path, account: pwd.struct_passwd | None) -> None:
    if account is None:
        return
    directory.chmod(0o755)
    for path in (directory / "data", directory / "accesslog", directory / "slapd.conf"):
        for one in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.chown(one, account.pw_uid, account.pw_gid)


def _answers(url: str) -> bool:
    connection = ldap.initialize(url)
    connection.set_option(ldap.OPT_NETWORK_TIMEOUT, 2)
    try:
        connection.simple_bind_s()
    except ldap.SERVER_DOWN:
        return False
    except ldap.LDAPError:
        return True  # it refuses anonymous binds, so it answers
    connection.unbind_ext_s()
    return True
