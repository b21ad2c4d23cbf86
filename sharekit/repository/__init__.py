"""A repository of signed releases on The Update Framework: a static folder for any web server."""
