"""The web console: pages that the server itself serves, without a build step on the user's machine.

`app.console.routes.console_routes()` gives the routes to mount. What is served stands in `static/`; `static/vendor/`
holds the libraries, made by `vendor/build.mjs` from the versions of its lock file and listed with their licences and
digests in its manifest.
"""
