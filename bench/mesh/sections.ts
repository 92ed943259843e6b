import { connections, fetchDown, fixedRate, HELLO, hold, sendUp, wrk } from "./loads.ts";
import { memoryMb, mostConnections, stop, timed } from "./processes.ts";
import type { Case } from "./case.ts";
import type { Contestant, StartedPair } from "./proxies.ts";
import { growth, threads } from "./scaling.ts";

/** The cases in which everybody takes part, and those of the mesh proxy alone. */

const everybody = ({ threads }: Contestant): boolean => threads === undefined;
const untuned = ({ isTunedForBulk, threads }: Contestant): boolean => !isTunedForBulk && threads === undefined;

/** @param scale how long everything takes: 1, or less */
export function cases(scale: number, isWrkThere: boolean): Case[] {
  return [
    ...bulk(scale),
    ...newConnections(scale),
    ...requests(scale, isWrkThere),
    ...memory(scale),
    startUp(),
    ...threads(scale),
    ...growth(scale),
  ];
}

function bulk(scale: number): Case[] {
  const bytes = Math.round(600e6 * scale);
  const directions = { up: sendUp, down: fetchDown } as const;
  return ([1, 8] as const).flatMap((lines) =>
    (["up", "down"] as const).map((direction) => ({
      section: "bulk" as const,
      name: `${lines} connection${lines === 1 ? "" : "s"} ${direction}`,
      figures: [
        { name: "MB/s", better: "more" as const, bar: 1.15 },
        { name: "CPU-s per GB", better: "less" as const, bar: 0.85 },
      ],
      takesPart: everybody,
      onStarted: {
        isResuming: true,
        async measure({ host, processes }: StartedPair) {
          const carry = async (): Promise<void> => directions[direction](host, Math.round(bytes / lines));
          const { seconds, cpu } = await timed(processes, async () =>
            Promise.all(Array.from({ length: lines }, carry)),
          );
          return { "MB/s": bytes / 1e6 / seconds, "CPU-s per GB": (cpu / bytes) * 1e9 };
        },
      },
    })),
  );
}

function newConnections(scale: number): Case[] {
  return ([true, false] as const).map((isResuming) => ({
    section: "connections" as const,
    name: isResuming ? "sessions resumed" : "full handshake each",
    figures: [
      { name: "per second", better: "more" as const, bar: isResuming ? 1.6 : 1.4 },
      { name: "CPU-s per 1000", better: "less" as const },
    ],
    takesPart: untuned,
    onStarted: {
      isResuming,
      async measure({ host, processes }: StartedPair) {
        let count = 0;
        const { seconds, cpu } = await timed(processes, async () => {
          count = await connections(host, 16, 2_000 * scale);
        });
        return { "per second": count / seconds, "CPU-s per 1000": (cpu / count) * 1000 };
      },
    },
  }));
}

const FIXED_RATE = 3_000;

function requests(scale: number, isWrkThere: boolean): Case[] {
  const closed = ([32, 256] as const).map((lines) => ({
    section: "requests" as const,
    name: `${lines} connections, as many as go`,
    figures: [
      { name: "per second", better: "more" as const, bar: lines === 32 ? 1.2 : 1.4 },
      { name: "p50 ms", better: "less" as const },
      { name: "p99 ms", better: "less" as const },
      { name: "CPU-ms per 1000", better: "less" as const },
    ],
    takesPart: untuned,
    onStarted: {
      isResuming: true,
      async measure({ host, processes }: StartedPair) {
        // Long, because the handshakes come first and are part of it.
        const seconds = Math.max(2, Math.round(4 * scale));
        const { cpu, result } = await timed(processes, async () => wrk(host, lines, seconds));
        const { rate, p50, p99 } = result;
        return { "per second": rate, "p50 ms": p50, "p99 ms": p99, "CPU-ms per 1000": (cpu / (rate * seconds)) * 1e6 };
      },
    },
  }));
  const fixed = {
    section: "requests" as const,
    name: `32 connections, ${FIXED_RATE} requests per second`,
    figures: [
      { name: "p99 ms", better: "less" as const, bar: 1.1 },
      { name: "p50 ms", better: "less" as const },
      { name: "CPU-ms per 1000", better: "less" as const },
    ],
    takesPart: untuned,
    onStarted: {
      isResuming: true,
      async measure({ host, processes }: StartedPair) {
        const ms = 2_000 * scale;
        const { cpu, result } = await hold(host, 32, HELLO, async (sockets) =>
          timed(processes, async () => fixedRate(sockets, FIXED_RATE, ms)),
        );
        return { "p99 ms": result.p99, "p50 ms": result.p50, "CPU-ms per 1000": (cpu / (FIXED_RATE * ms)) * 1e9 };
      },
    },
  };
  return isWrkThere ? [...closed, fixed] : [fixed];
}

function memory(scale: number): Case[] {
  const most = Math.min(Math.round(10_000 * scale), mostConnections());
  return [1_000, most].map((count) => ({
    section: "memory" as const,
    name: `${count} idle connections`,
    figures: [
      { name: "kB per connection and proxy", better: "less" as const, bar: 0.5 },
      { name: "base MB per proxy", better: "less" as const, limit: 40 },
    ],
    takesPart: untuned,
    isMeasuredOnce: true,
    async alone(contestant: Contestant) {
      const { host, processes } = await contestant.start({ isResuming: true });
      try {
        // What is needed for any connection at all is not charged to the others.
        await hold(host, 1, "E", async () => {});
        const base = memoryMb(processes);
        const held = await hold(host, count, "E", async () => memoryMb(processes));
        return { "kB per connection and proxy": ((held - base) * 1000) / count / 2, "base MB per proxy": base / 2 };
      } finally {
        await stop(processes);
      }
    },
  }));
}

function startUp(): Case {
  return {
    section: "start",
    name: "both proxies, one after the other",
    figures: [{ name: "ms to first accept, per proxy", better: "less", limit: 150 }],
    takesPart: untuned,
    async alone(contestant) {
      const begin = performance.now();
      const { processes } = await contestant.start({ isResuming: true });
      const ms = (performance.now() - begin) / 2;
      await stop(processes);
      return { "ms to first accept, per proxy": ms };
    },
  };
}
