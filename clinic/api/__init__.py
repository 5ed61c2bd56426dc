"""The REST API of this app, and the doorstep of the others': who calls, what is refused, what things look like.

The modules that the settings name (callers, limits, refusals) must not import views: the framework reads them while
it is itself being imported."""
