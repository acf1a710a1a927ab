"""The web console: static pages served by the server, without a build step.

`app.console.routes.console_routes()` returns the routes to mount. The files are in `static/`; `static/vendor/` has the
libraries, built by `vendor/build.mjs` from the versions in its lock file and listed with their licences and digests in
its manifest.
"""
