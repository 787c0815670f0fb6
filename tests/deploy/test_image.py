"""What the image is made of: nobody's rights, and nothing that is secret. `make deploy-check` builds and starts it."""

from __future__ import annotations

from django.test import SimpleTestCase

from chatservice.testing import ROOT
from tests.deploy.dockerfile import ignored, is_ignored, stages


class ImageTest(SimpleTestCase):
    def setUp(self) -> None:
        self.image = stages()[-1]

    def test_it_runs_as_a_user_of_its_own_and_starts_no_shell(self):
        user, group = self.image.user.split(":")
        self.assertTrue(user.isdigit() and group.isdigit() and int(user) >= 1000, self.image.user)
        self.assertEqual(self.image.volumes, [self.image.environment["VAR_DIR"]])
        self.assertTrue(self.image.command and self.image.health)
        made = next(rest for name, rest in self.image.steps if name == "RUN")
        self.assertIn(f"--uid {user} ", made)
        self.assertIn(f"--gid {group} ", made)

    def test_neither_secrets_nor_data_nor_what_git_ignores_get_in(self):
        patterns = ignored()
        for path in (".env", "deploy/chat.env", "deploy/tls/privkey.pem", "var/secrets.env", ".git/config", ".venv/x"):
            self.assertTrue(is_ignored(path, patterns), path)
        for line in (ROOT / ".gitignore").read_text().split():
            name = line.strip("/").replace("[cod]", "o").replace("*", "x")
            self.assertTrue(is_ignored(name, patterns), line)
        for package in ROOT.glob("*/__init__.py"):
            if package.parent.name not in ("tests", "benchmarks"):
                self.assertFalse(is_ignored(str(package.relative_to(ROOT)), patterns), package)
