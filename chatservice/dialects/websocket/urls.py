"""No HTTP paths: the socket is in `websocket.py`."""

app_name = "websocket"

urlpatterns: list[object] = []
