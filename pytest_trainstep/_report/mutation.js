(function () {
  "use strict";
  var matrix = document.getElementById("matrix");
  if (!matrix) { return; }
  var rows = Array.prototype.slice.call(matrix.tBodies);
  var words = document.getElementById("planted-words"), fault = document.getElementById("planted-fault");
  var verdict = document.getElementById("planted-verdict"), form = document.getElementById("planted-filters");

  function fits(row) {
    var id = row.dataset.id.toLowerCase(), verdicts = row.dataset.verdicts.split("|");
    var meant = fault.value === "" ? verdicts : [verdicts[fault.value]];
    return words.value.toLowerCase().split(/\s+/).every(function (word) { return id.indexOf(word) >= 0; })
      && (verdict.value === "" || meant.indexOf(verdict.value) >= 0);
  }

  function filter() {
    var shown = rows.filter(function (row) { row.hidden = !fits(row); return !row.hidden; });
    document.getElementById("planted-shown").value = shown.length + " of " + rows.length + " shown";
    document.getElementById("planted-none").hidden = shown.length > 0;
  }

  form.addEventListener("input", filter);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  filter();
})();
