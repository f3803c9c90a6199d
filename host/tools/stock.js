/* Available to every stock tool's expressions. */
function sh(value) {
  return "'" + String(value === null || value === undefined ? "" : value).replace(/'/g, "'\"'\"'") + "'";
}
function paths(files) {
  return (files || []).map(function (file) { return sh(file.path); }).join(" ");
}
function column(text) {
  return String(text).replace(/^c/, "");
}
