// The page of the API's description. Swagger UI draws it from this server's own document, and asks nobody else.
const place = document.querySelector("#api");
const dark = matchMedia("(prefers-color-scheme: dark)");

function followTheme() {
  document.documentElement.classList.toggle("dark-mode", dark.matches);
}

// Below an answer stands the command that asked for it, with the token in it: nothing to have on a screen.
const withoutCommand = () => ({ components: { RequestSnippets: () => null, curl: () => null } });

if (window.SwaggerUIBundle) {
  followTheme();
  dark.addEventListener("change", followTheme);
  window.SwaggerUIBundle({
    domNode: place,
    url: place.dataset.url,
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayOperationId: true,
    docExpansion: "list",
    filter: true,
    plugins: [withoutCommand],
    validatorUrl: null,
  });
}
