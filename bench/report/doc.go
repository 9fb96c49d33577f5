// Package report makes tables and plots from the results of a benchmark.
//
// Tables go between markers of a Markdown file, <!-- bench:NAME --> and
// <!-- /bench:NAME -->; the text around them is written by hand and stays. A marker
// whose table is not known, or that has no end, is an error, so that no table
// grows old unseen.
//
// Every figure is a median with the range of all runs; ratios are made pair by
// pair, each of two runs of the same round, before the median is taken. A cell
// without a run says so with a dash: it is never left out, and never filled in.
package report
