"""Who we are for an S3 server: the usual AWS environment variables, or a profile in the usual AWS files."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from lamina.errors import UsageError
from lamina.model.secret import Secret


@dataclass(frozen=True, slots=True)
class Account:
    """Credentials, and where they are good."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret = field(default_factory=lambda: Secret(b""))
    endpoint: str = ""  # empty: AWS
    region: str = "us-east-1"


def find_account(options: Mapping[str, str], environment: Mapping[str, str]) -> Account:
    """The account for an address: keys from the environment, or else from the profile; the address wins for places.

    Raises: UsageError if there are no keys.
    """
    profile = _read_profile(environment)
    if environment.get("AWS_ACCESS_KEY_ID"):  # wins over AWS_PROFILE, as in the AWS tools
        keys = {name.lower(): value for name, value in environment.items()}
    else:
        keys = profile
    key, secret = keys.get("aws_access_key_id", ""), keys.get("aws_secret_access_key", "")
    if not key or not secret:
        raise UsageError("no S3 credentials were found", hint=_hint(profile))
    endpoint = (
        options.get("endpoint")
        or environment.get("AWS_ENDPOINT_URL_S3")
        or environment.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url", "")
    )
    region = (
        options.get("region")
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or "us-east-1"
    )
    return Account(
        access_key_id=key,
        secret_access_key=Secret(secret.encode()),
        session_token=Secret(keys.get("aws_session_token", "").encode()),
        endpoint=endpoint.rstrip("/"),
        region=region,
    )


def _read_profile(environment: Mapping[str, str]) -> dict[str, str]:
    """The profile's settings from both files (the credentials file wins); empty if there is none and none was asked for."""
    home = os.path.join(environment.get("HOME", "/"), ".aws")
    name = environment.get("AWS_PROFILE") or "default"
    config_section = name if name == "default" else f"profile {name}"
    config = _read_section(environment.get("AWS_CONFIG_FILE") or f"{home}/config", config_section)
    keys = _read_section(environment.get("AWS_SHARED_CREDENTIALS_FILE") or f"{home}/credentials", name)
    if config is None and keys is None and environment.get("AWS_PROFILE"):
        raise UsageError(f"there is no AWS profile {name!r}", hint=f"see {home}/credentials, or correct AWS_PROFILE")
    return {**(config or {}), **(keys or {})}


def _read_section(path: str, section: str) -> dict[str, str] | None:
    parser = configparser.ConfigParser(interpolation=None, strict=False)  # a secret may hold a %
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError):
        # not "from error": its text quotes the line, which may be the secret
        raise UsageError(f"{path} is not a file of AWS profiles") from None
    return dict(parser[section]) if parser.has_section(section) else None


def _hint(profile: Mapping[str, str]) -> str:
    for setting in ("sso_session", "sso_start_url", "role_arn", "credential_process"):
        if setting in profile:
            return f"Lamina does not follow {setting}; use `aws configure export-credentials --format env`"
    return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE and ~/.aws/credentials"
