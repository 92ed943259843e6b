import type { Case } from "./case.ts";
import { connections, fetchDown, fixedRate, HELLO, hold, wrk } from "./loads.ts";
import { memoryMb, mostConnections, stop, timed } from "./processes.ts";
import type { Contestant, StartedPair } from "./proxies.ts";

/** How the cost of the mesh proxy grows: with its threads, and with its connections. It competes with nobody here. */

/** So many requests a second in all, however many connections they are spread over. */
const LOW_RATE = 1_000;

export function threads(scale: number): Case[] {
  const takesPart = ({ threads }: Contestant): boolean => threads !== undefined;
  const common = { section: "threads" as const, takesPart };
  const more = (name: string) => ({ name, better: "more" as const });
  const less = (name: string) => ({ name, better: "less" as const });
  return [
    {
      ...common,
      name: "8 connections down",
      figures: [more("MB/s"), less("CPU-s per GB")],
      onStarted: {
        isResuming: true,
        async measure({ host, processes }: StartedPair) {
          const bytes = Math.round(600e6 * scale);
          const carry = async (): Promise<void> => fetchDown(host, Math.round(bytes / 8));
          const { seconds, cpu } = await timed(processes, async () => Promise.all(Array.from({ length: 8 }, carry)));
          return { "MB/s": bytes / 1e6 / seconds, "CPU-s per GB": (cpu / bytes) * 1e9 };
        },
      },
    },
    {
      ...common,
      name: "new connections, sessions resumed",
      figures: [more("per second"), less("CPU-s per 1000")],
      onStarted: {
        isResuming: true,
        async measure({ host, processes }: StartedPair) {
          const { seconds, cpu, result } = await timed(processes, async () => connections(host, 16, 1_500 * scale));
          return { "per second": result / seconds, "CPU-s per 1000": (cpu / result) * 1000 };
        },
      },
    },
    {
      ...common,
      name: "requests over 256 connections",
      figures: [more("per second"), less("CPU-ms per 1000")],
      onStarted: {
        isResuming: true,
        async measure({ host, processes }: StartedPair) {
          const seconds = Math.max(2, Math.round(3 * scale));
          const { cpu, result } = await timed(processes, async () => wrk(host, 256, seconds));
          return { "per second": result.rate, "CPU-ms per 1000": (cpu / (result.rate * seconds)) * 1e6 };
        },
      },
    },
  ];
}

export function growth(scale: number): Case[] {
  const counts = [100, 1_000, 5_000, 10_000].map((count) => Math.min(count, mostConnections()));
  return counts.map((count) => ({
    section: "growth" as const,
    name: `${count} connections`,
    figures: [
      { name: "kB per connection and proxy", better: "less" as const },
      { name: `CPU-ms per 1000 requests, ${LOW_RATE} a second`, better: "less" as const },
    ],
    takesPart: ({ name }: Contestant) => name === "mesh-proxy",
    isMeasuredOnce: true,
    async alone(contestant: Contestant) {
      const { host, processes } = await contestant.start({ isResuming: true });
      try {
        await hold(host, 1, HELLO, async () => {});
        const base = memoryMb(processes);
        return await hold(host, count, HELLO, async (sockets) => {
          const held = memoryMb(processes);
          const ms = Math.max(3_000, 6_000 * scale);
          const { cpu } = await timed(processes, async () => fixedRate(sockets, LOW_RATE, ms));
          return {
            "kB per connection and proxy": ((held - base) * 1000) / count / 2,
            [`CPU-ms per 1000 requests, ${LOW_RATE} a second`]: (cpu / (LOW_RATE * ms)) * 1e9,
          };
        });
      } finally {
        await stop(processes);
      }
    },
  }));
}
