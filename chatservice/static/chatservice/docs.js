// Swagger UI over one schema per dialect; everything it loads comes from this host.
const root = document.getElementById("swagger-ui");
const names = root.dataset.schemas.split(",");
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  urls: names.map((name) => ({ name, url: `/schema/${name}` })),
  deepLinking: true,
  persistAuthorization: true,
  // A signed-in browser may try things out as its user: see accounts/sessions.py.
  requestInterceptor: (request) => {
    request.headers["X-Requested-With"] = "docs";
    return request;
  },
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  layout: "StandaloneLayout",
});
