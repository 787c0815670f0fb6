"""The chat page without the admin (ADMIN_ENABLED=false), to which it has a link otherwise."""

from __future__ import annotations

from types import ModuleType

from django.template.loader import render_to_string
from django.test import SimpleTestCase, override_settings

from chatservice import urls

without_admin = ModuleType("without_admin")
without_admin.urlpatterns = [each for each in urls.urlpatterns if getattr(each, "namespace", None) != "admin"]


class ChatPageTest(SimpleTestCase):
    def test_the_link_to_the_admin_is_there_if_the_admin_is(self) -> None:
        self.assertIn('<a id="staff" href="/admin/" hidden>', render_to_string("chat.html", {"modules": []}))
        with override_settings(ROOT_URLCONF=without_admin):
            self.assertIn('<a id="staff"  hidden>', render_to_string("chat.html", {"modules": []}))
