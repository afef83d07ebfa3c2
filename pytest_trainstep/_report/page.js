(function () {
  "use strict";
  var table = document.getElementById("tests");
  var rows = Array.prototype.slice.call(table.tBodies);
  var words = document.getElementById("words"), cause = document.getElementById("cause");
  var only = document.getElementById("only"), shown = document.getElementById("shown");

  function filter() {
    var wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean), count = 0;
    rows.forEach(function (row) {
      var id = row.dataset.id.toLowerCase(), causes = row.dataset.cause.split(" ");
      var fits = wanted.every(function (word) { return id.indexOf(word) >= 0; })
        && (!cause.value || causes.indexOf(cause.value) >= 0) && (!only.checked || row.dataset.cause !== "");
      row.hidden = !fits;
      count += fits ? 1 : 0;
    });
    shown.value = count + " of " + rows.length + " shown";
    document.getElementById("none").hidden = count > 0;
  }

  function sort(header) {
    var key = header.firstElementChild.dataset.key, number = key === "steps" || key === "noops";
    var down = header.getAttribute("aria-sort") === (number ? "none" : "ascending");
    if (header.getAttribute("aria-sort") === "descending") { down = false; }
    Array.prototype.forEach.call(header.parentNode.children, function (other) { other.setAttribute("aria-sort", "none"); });
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows.sort(function (a, b) {
      var x = a.dataset[key], y = b.dataset[key];
      var order = number ? x - y : (x === "") - (y === "") || x.localeCompare(y);
      return down ? -order : order;
    });
    rows.forEach(function (row) { table.appendChild(row); });
  }

  function press() {
    Array.prototype.forEach.call(document.querySelectorAll(".causes button"), function (button) {
      button.setAttribute("aria-pressed", String(button.dataset.cause === cause.value));
    });
  }

  Array.prototype.forEach.call(document.querySelectorAll(".causes button"), function (button) {
    button.addEventListener("click", function () {
      cause.value = button.dataset.cause === cause.value ? "" : button.dataset.cause;
      press();
      filter();
    });
  });
  cause.addEventListener("change", press);
  document.getElementById("filters").addEventListener("input", filter);
  document.getElementById("filters").addEventListener("submit", function (event) { event.preventDefault(); });
  table.tHead.addEventListener("click", function (event) {
    var header = event.target.closest("th");
    if (header && event.target.closest("button")) { sort(header); }
  });
  document.addEventListener("click", function (event) {  // rows unfold in every table of the page
    var button = event.target.closest(".open");
    if (!button) { return; }
    var more = button.closest("tbody").querySelector(".more");
    more.hidden = !more.hidden;
    button.setAttribute("aria-expanded", String(!more.hidden));
  });
  document.getElementById("theme").addEventListener("click", function () {
    var root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    var now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
  rows.sort(function (a, b) { return b.dataset.weight - a.dataset.weight; });
  rows.forEach(function (row) { table.appendChild(row); });
  filter();
})();
