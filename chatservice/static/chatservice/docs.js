// Swagger UI over one schema per dialect; everything it loads comes from this host.
import { ROOT } from "../pages/api.js";
import { pageUser } from "../pages/identity.js";
import { hello } from "../pages/operations.js";

// Without a key it is the page of whoever is here now, and nothing is sent as anybody else's: docs/page-identity.md.
const met = hello().catch(() => {});
const root = document.getElementById("swagger-ui");
const names = root.dataset.schemas.split(",");
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  urls: names.map((name) => ({ name, url: `${ROOT}/schema/${name}` })),
  deepLinking: true,
  persistAuthorization: true,
  // A signed-in browser may try things out as its user: see accounts/sessions.py.
  requestInterceptor: async (request) => {
    request.headers["X-Requested-With"] = "docs";
    await met;
    if (pageUser() && !request.headers.Authorization) request.headers["X-Page-User"] = pageUser().identity;
    return request;
  },
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  layout: "StandaloneLayout",
});
