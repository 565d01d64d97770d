"""Pages of a pod, and waiting for what they say. Must not live here: what is expected of them."""

import time
import urllib.error
import urllib.request


def page(address, path, token=None, timeout=5):
    """Status and text of a page; 0 where nothing answers."""
    request = urllib.request.Request(f"http://{address}{path}")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def eventually(what, missing, patience, alive=lambda: None, pause=0.1):
    """Waits until `missing` gives nothing; `alive` fails if nothing can come."""
    end = time.monotonic() + patience
    while said := missing():
        alive()
        assert time.monotonic() < end, f"{what}: {said}"
        time.sleep(pause)
    alive()
