"""The hub's client library, and what its errors mean in one sentence. The token is the library's business and never shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from zoo_core import NotFound, Unreachable, ZooError, __version__


def hub_api() -> HfApi:
    """A client of the hub that the environment names, with the token of the environment or the hub's own login."""
    return HfApi(library_name="llm-zoo", library_version=__version__)


def kind_of(repo: str) -> tuple[str, str]:
    """The kind of a repository and its name there: `datasets/owner/name`, as in the hub's own addresses, is a dataset's."""
    name = repo.removeprefix("datasets/")
    return ("dataset" if name != repo else "model"), name


@contextmanager
def in_words(repo: str, *, writes: bool = False) -> Iterator[None]:
    """Turn what the client library raises about a repository into a `ZooError` of one sentence.

    `writes` says that files of ours are written meanwhile: what the disk says then is for the caller.
    """
    try:
        _require_session()
        yield
    except GatedRepoError as error:
        raise ZooError(
            f"The hub hands {repo} out only to who accepted its licence: accept it at {hub_api().endpoint}/{repo}, "
            "then set HF_TOKEN or log in with: hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"The hub has no repository {repo}, or it is private; check the name, "
            "and set HF_TOKEN or log in with: hf auth login"
        ) from error
    except RevisionNotFoundError as error:
        raise NotFound(
            f"The repository {repo} has no such revision; look at its commits for one that is there."
        ) from error
    except HFValidationError:
        raise NotFound(f"'{repo}' is no name of a repository; write OWNER/NAME.") from None
    except OfflineModeIsEnabled as error:
        raise Unreachable(
            f"The hub is not asked about {repo}, because HF_HUB_OFFLINE is set; unset it first."
        ) from error
    except LocalEntryNotFoundError as error:
        raise Unreachable(f"What is wanted of {repo} is not on this machine, and the hub is out of reach.") from error
    except HfHubHTTPError as error:
        raise _refusal(repo, error) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unreachable(f"The hub cannot be reached for {repo}: {_line(error)}.") from error
    except UnicodeEncodeError as error:
        raise ZooError(
            f"The hub cannot be asked for {repo}, because the token has characters that none has; set HF_TOKEN to "
            "another or log in with: hf auth login"
        ) from error
    except OSError as error:
        if writes:
            raise
        raise ZooError(
            f"The hub cannot be asked for {repo}, because {error.filename or 'a file of its library'} cannot be read: "
            f"{_line(error.strerror or error)}; look at HF_HOME and HF_TOKEN_PATH."
        ) from error


def _require_session() -> None:
    """Raise a `ZooError` where no connection can be made because of the settings, which the library asks once."""
    try:
        get_session()
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        raise ZooError(
            f"The hub cannot be asked through the proxy that the environment names: {_line(error)}; "
            "look at HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."
        ) from error
    except OSError as error:
        raise ZooError(
            f"The hub cannot be asked, because the certificates that the environment names cannot be read: "
            f"{_line(error.strerror or error)}; look at SSL_CERT_FILE and SSL_CERT_DIR."
        ) from error


def _refusal(repo: str, error: HfHubHTTPError) -> ZooError:
    status = error.response.status_code
    if status == 401:
        return ZooError(f"The hub does not know you for {repo}; set HF_TOKEN or log in with: hf auth login")
    if status == 403:
        return ZooError(f"The hub does not allow this in {repo} with your token; use one that may.")
    if status in {409, 412}:
        return ZooError(f"{repo} was changed by somebody else meanwhile; look at the change again.")
    if status == 429 or status >= 500:
        return Unreachable(f"The hub answers {status} for {repo}; try again later.")
    return ZooError(f"The hub refuses this for {repo} ({status}): {_line(error.server_message or error)}.")


def _line(what: object) -> str:
    """One line of what a library or a server said."""
    return " ".join(str(what).split())[:200].rstrip(".") or type(what).__name__
