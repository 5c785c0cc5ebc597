"""The only place that imports Together's SDK: uploads.

An upload is a form, a redirect to storage, the content, and a call to have it checked, or many parts above 5 GB. None
of that is documented; the SDK is where it is written down.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import together

from ftorch.core.clock import Clock
from ftorch.core.errors import FtorchError, ProviderProtocolError, ProviderUnavailableError, RunRejectedError
from ftorch.providers.failures import AgainError, Call, Failures
from ftorch.providers.http import default_client
from ftorch.providers.together.settings import KEY_VARIABLE, Settings

_TIMEOUT_S = 60.0
_KEPT = 4000
_CALL = Call("POST", "/v1/files", "stage")


def upload(settings: Settings, clock: Clock, file: Path) -> str:
    """The id of the file at Together. Content that it has already is not sent again.

    Raises what a provider raises, and nothing of the SDK's; a second call is harmless.
    """
    client = together.Together(
        api_key=settings.key,
        base_url=settings.url,
        project_id=settings.project,
        max_retries=0,
        http_client=default_client(_TIMEOUT_S),
    )
    with client:
        try:
            # Its own check looks at almost nothing and reads the whole file for it; ours was stricter, theirs follows.
            return client.files.upload(file, purpose="fine-tune", check=False).id
        except together.APIStatusError as error:
            raise _refused(settings, clock, error) from error
        except together.FileTypeError as error:
            words = f"together takes no such file: {error}"
            raise RunRejectedError(words, provider="together", operation="stage") from error
        except (together.APIConnectionError, httpx.HTTPError) as error:
            raise _unavailable(f"together did not answer stage: {type(error).__name__}") from error
        except Exception as error:
            # The SDK asserts what an answer is, and raises the bare class when a part of a large file did not arrive.
            words = f"the upload of {file.name} to together failed: {type(error).__name__} {error}".strip()
            raise ProviderProtocolError(words, provider="together", operation="stage") from error


def _refused(settings: Settings, clock: Clock, error: together.APIStatusError) -> Exception:
    """The answer in our errors. The SDK's own words are not used: it takes every 401 for a lack of credit."""
    if error.response.request.method == "PUT":
        # Storage has refused: its address is good for a while only, and the next attempt gets another one.
        return _unavailable(f"together's storage answered stage with {error.status_code}")
    if error.response.is_success:
        words = "together answered stage with something that we cannot read"
        return ProviderProtocolError(words, provider="together", operation="stage", body=error.response.text[:_KEPT])
    failures = Failures("together", clock, settings.key, KEY_VARIABLE, "x-request-id")
    failure = failures.of_answer(_CALL, error.response, RunRejectedError)
    return failure.error if isinstance(failure, AgainError) else failure


def _unavailable(words: str) -> FtorchError:
    return ProviderUnavailableError(words, provider="together", operation="stage")
