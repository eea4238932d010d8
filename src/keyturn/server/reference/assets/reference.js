// Starts the viewer, and puts right what it lacks for people who read by ear.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const shade = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
shade();
dark.addEventListener("change", shade);

const named = (element) => element.closest("[data-param-name]").dataset.paramName;

// [what, attribute, value or what tells it]; null takes the attribute away.
const LACKING = [
  [".close-modal", "aria-label", "Close"],
  [".body-param__text", "aria-label", "Request body"],
  [".examples-select-element", "aria-label", "Example"],
  [".operation-filter-input", "aria-label", "Filter by tag or path"],
  [".content-type", "aria-label", "Content type"],
  [".response-control-media-type select", "aria-label", "Media type of the answer"],
  ["[data-param-name] select", "aria-label", named],
  [".responses-table", "role", null],
  [".opblock-control-arrow", "aria-hidden", "true"],
  [".highlight-code > pre, .highlight-code > .microlight, .curl-command pre", "tabindex", "0"],
];

const complete = () => {
  for (const [what, attribute, value] of LACKING) {
    for (const element of document.querySelectorAll(`#reference ${what}`)) {
      const wanted = typeof value === "function" ? value(element) : value;
      if (element.getAttribute(attribute) === wanted) continue;
      if (wanted === null) element.removeAttribute(attribute);
      else element.setAttribute(attribute, wanted);
    }
  }
};

// What the viewer draws otherwise: https://swagger.io/docs/open-source-tools/swagger-ui/customization/
const Ours = ({ React }) => ({
  wrapComponents: {
    // An operation's path stands in a button, where a link may not be.
    DeepLink: (Link) => (props) =>
      String(props.path).includes("/")
        ? React.createElement("span", null, props.text)
        : React.createElement(Link, props),
    // It can call this service alone.
    ServersContainer: () => () => null,
  },
});

new MutationObserver(complete).observe(document.getElementById("reference"), {
  childList: true,
  subtree: true,
});

SwaggerUIBundle({
  url: new URL("openapi.yaml", document.baseURI).href,
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  persistAuthorization: false,
  validatorUrl: null,
  plugins: [Ours],
});
