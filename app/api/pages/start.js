"use strict";
// A file of its own: the page's policy runs no script that is written in the page.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  validatorUrl: null, // no other host is asked for anything
  persistAuthorization: false, // a key is gone with the page
});
