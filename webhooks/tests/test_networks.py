"""Which addresses may be reached: none that is private, reserved, or only looks public."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.test import SimpleTestCase, override_settings

from chatservice.testing import tried_on
from webhooks.models import WebhookEndpoint
from webhooks.networks import may_reach

PUBLIC = ("93.184.215.14", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8")
OTHERS = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *(
        "100.100.100.200",
        "192.0.0.170",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
    ),
    *(
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
    ),
    *(
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::8.8.8.8",
        "2002:7f00:1::",
        "2001::1",
    ),
    *("2001:db8::1", "::127.0.0.1", "", "localhost", "nonsense"),
)


@tried_on("sqlite")
class NetworksTest(SimpleTestCase):
    def test_only_the_internet_is_reached(self) -> None:
        for address in PUBLIC:
            self.assertTrue(may_reach(address, is_encrypted=True), address)
            self.assertFalse(may_reach(address, is_encrypted=False), address)
        for address in OTHERS:
            self.assertFalse(may_reach(address, is_encrypted=True), address)

    @override_settings(WEBHOOK_NETWORKS=["10.1.0.0/16", "fd00::/8"])
    def test_a_setting_allows_more(self) -> None:
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:ec2::254"):
            self.assertTrue(may_reach(address, is_encrypted=False), address)
        for address in ("10.2.0.1", "127.0.0.1"):
            self.assertFalse(may_reach(address, is_encrypted=True), address)

    def test_an_endpoint_that_could_never_be_reached_is_refused(self) -> None:
        for url in (
            *("", "hooks", "ftp://hooks.example.org/", "https://", "https://10.0.0.1/", "https://[::1]/"),
            *("http://hooks.example.org/", "https://name:word@hooks.example.org/", "https://hooks.example.org/#x"),
            *("https://hooks.example.org:99999/", "https://hooks.example.org/\nHost: x"),
        ):
            with self.subTest(url), self.assertRaises(ValidationError):
                WebhookEndpoint(url=url).clean()
        for url in ("https://hooks.example.org/a?b=c", "https://hooks.example.org:8443"):
            WebhookEndpoint(url=url).clean()
        with override_settings(WEBHOOK_NETWORKS=["10.0.0.0/8"]):
            WebhookEndpoint(url="http://hooks:8000/").clean()
            WebhookEndpoint(url="http://10.0.0.1/").clean()
