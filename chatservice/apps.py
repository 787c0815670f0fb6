"""The composition root as a Django application: its static files, its checks, and the admin site."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ChatserviceConfig(AppConfig):
    name = "chatservice"
    verbose_name = "Chat service"


class StaffSiteConfig(AdminConfig):
    default_site = "chatservice.site.StaffSite"
