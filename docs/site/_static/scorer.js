// The order of search results: pages for users come before pages of the program's modules, and the rest as in Sphinx.
var Scorer = {
  score: ([docname, title, anchor, descr, score]) => docname.startsWith("api/") ? score : score + 1000,
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
