"""The websocket: one socket carries many conversations."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer


class CompletionConsumer(AsyncJsonWebsocketConsumer):
    pass
