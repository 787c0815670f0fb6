"""Nothing answers here by HTTP; `websocket.py` has the socket."""

app_name = "websocket"

urlpatterns: list[object] = []
