"""The one path of this API."""

from django.urls import path

from chatservice.dialects.graphql.views import GraphQLView

app_name = "graphql"

urlpatterns = [path("", GraphQLView.as_view(), name="graphql")]
