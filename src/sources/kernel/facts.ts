import { toU64 } from "../../abi/u64.ts";
import type { KernelMemory } from "../../arch/arch.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import type { Eventfd, IrqfdFact } from "../../vm/facts.ts";
import type { Route, Routing } from "../../vm/routing.ts";
import type { Holders } from "./eventfd-holders.ts";
import type { EventfdRead, IrqfdRead, RouteRead } from "./structures.ts";

/** `KVM_IRQ_ROUTING_*` of <linux/kvm.h>. */
const TYPE = { irqchip: 1, msi: 2, hv_sint: 4, xen_evtchn: 5 } as const;

/** A route as the kernel keeps it; nothing for one of a kind that is not known, or none. */
export function routeOf(memory: KernelMemory, route: RouteRead): Route | undefined {
  const { gsi = 0, type } = route;
  if (type === TYPE.irqchip) {
    const input = memory.input(route.irqchip ?? -1, route.pin ?? 0);
    return input && { gsi, ...input };
  }
  if (type === TYPE.msi) {
    const { address = 0, data = 0, address_hi } = route;
    return { gsi, msi: { address, data, ...(address_hi ? { address_hi } : {}) } };
  }
  if (type === TYPE.hv_sint) return { gsi, hv_sint: { vcpu: route.sint_vcpu ?? 0, sint: route.sint ?? 0 } };
  if (type !== TYPE.xen_evtchn) return undefined;
  const { xen_vcpu: vcpu = 0, xen_port: port = 0, xen_priority: priority = 0 } = route;
  return { gsi, xen_evtchn: { vcpu, port, priority } };
}

/** The table, by GSI, and within one in the order of chips as an architecture has them. */
export function routesOf(memory: KernelMemory, chains: readonly (readonly RouteRead[])[]): Route[] {
  const places = Object.keys(HOST_ARCH.routing.inputs);
  const place = (route: Route) => ("chip" in route ? places.indexOf(route.chip) : -1);
  return chains.flatMap((chain) =>
    chain.flatMap((one) => routeOf(memory, one) ?? []).sort((a, b) => place(a) - place(b)),
  );
}

/** A table as a snapshot has it: KVM's own one by its name. */
export function routingOf(routes: readonly Route[]): Routing {
  const own = HOST_ARCH.routing.tables["default"]?.routes ?? [];
  return JSON.stringify(routes) === JSON.stringify(own) ? "default" : routes;
}

function eventfdOf({ id, count }: EventfdRead, holders: Holders): Eventfd {
  return {
    ...(id === undefined ? {} : { id, holders: holders.get(id) ?? [] }),
    ...(count === undefined ? {} : { count: toU64(count) }),
  };
}

export function irqfdsOf(memory: KernelMemory, irqfds: readonly IrqfdRead[], holders: Holders): IrqfdFact[] {
  return irqfds.map(({ gsi = 0, eventfd, resample, entry, producer }) => ({
    gsi,
    eventfd: eventfd === undefined ? {} : eventfdOf(eventfd, holders),
    ...(resample === undefined ? {} : { resample: eventfdOf(resample, holders) }),
    ...(entry?.type === undefined ? {} : { entry: (entry.type && routeOf(memory, entry)) || null }),
    ...(producer === undefined ? {} : { producer: producer !== 0n }),
  }));
}
