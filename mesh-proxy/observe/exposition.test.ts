import { expect, test } from "vitest";
import { expose, Histogram } from "./exposition.ts";

test("families are exposed with help and type, also without samples", () => {
  const families = [
    {
      name: "a_total",
      type: "counter",
      help: "Of a.",
      samples: [{ value: 1 }, { labels: { b: "c", d: "e" }, value: 2 }],
    },
    { name: "b", type: "gauge", help: "Of b.", samples: [] },
    { name: "c", type: "gauge", help: "Of c.", samples: [{ value: 0.5 }] },
  ] as const;
  expect(expose(families)).toBe(
    [
      "# HELP a_total Of a.",
      "# TYPE a_total counter",
      "a_total 1",
      'a_total{b="c",d="e"} 2',
      "# HELP b Of b.",
      "# TYPE b gauge",
      "# HELP c Of c.",
      "# TYPE c gauge",
      "c 0.5",
      "",
    ].join("\n"),
  );
});

test("a name of anybody's choice stays inside its quotes", () => {
  const samples = [{ labels: { rule: 'a"\\\nb' }, value: 1 }];
  expect(expose([{ name: "x", type: "gauge", help: "X.", samples }])).toContain('x{rule="a\\"\\\\\\nb"} 1\n');
});

test("a histogram counts into cumulative buckets, whose bounds belong to them", () => {
  const histogram = new Histogram([0.5, 1]);
  for (const value of [0.25, 0.5, 0.75, 4]) histogram.observe(value);
  const text = expose([{ name: "x", type: "histogram", help: "X.", samples: histogram.samples({ rule: "a" }) }]);
  expect(text.split("\n").slice(2, -1)).toEqual([
    'x_bucket{rule="a",le="0.5"} 2',
    'x_bucket{rule="a",le="1"} 3',
    'x_bucket{rule="a",le="+Inf"} 4',
    'x_sum{rule="a"} 5.5',
    'x_count{rule="a"} 4',
  ]);
});
