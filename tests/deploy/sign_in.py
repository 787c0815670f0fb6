"""An OpenID provider in the machine's network, and a person who signs in there: `python -m tests.deploy.sign_in NAME`.

Prints the issuer, waits for the certificate on standard input, signs in over TLS by nginx, and prints the username.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from urllib.parse import parse_qs, urlsplit

import django
import httpx2

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()
from tests.signin.provider import Provider  # noqa: E402  it needs the settings


def main(name: str) -> None:
    provider = Provider()
    print(provider.issuer, flush=True)
    address = "https://127.0.0.1"
    # The name leads nowhere here: the certificate is checked for it all the same.
    trusting = ssl.create_default_context(cadata=sys.stdin.read())
    with httpx2.Client(verify=trusting, trust_env=False, timeout=30, headers={"Host": name}) as browser:

        def get(path: str) -> httpx2.Response:
            answer = browser.get(f"{address}{path}", extensions={"sni_hostname": name})
            # Cookies belong to the name, not to the address by which it is reached.
            for cookie in answer.headers.get_list("set-cookie"):
                key, _, value = cookie.partition(";")[0].partition("=")
                cookies[key] = value
            browser.headers["Cookie"] = "; ".join(f"{key}={value}" for key, value in cookies.items())
            return answer

        cookies: dict[str, str] = {}
        sent = urlsplit(get("/login/openid").headers["location"])
        asked = {key: values[0] for key, values in parse_qs(sent.query).items()}
        assert asked["redirect_uri"] == f"https://{name}/login/openid/callback", asked
        back = get(f"/login/openid/callback?code={provider.grant(asked)}&state={asked['state']}")
        assert back.status_code == 302, back.text
        page = get("/admin/")
        found = re.search(r"<strong>(\w+)</strong>", page.text)
        print(found[1] if found else f"{page.status_code} {page.text[-500:]}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
