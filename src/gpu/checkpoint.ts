/**
 * Activation checkpointing (Chen 2016, arXiv 1604.06174) as a rewriting of a traced graph: what a segment of the forward
 * pass leaves for its backward pass is not kept but computed a second time right before it is needed. The same kernels
 * see the same numbers, so gradients keep their bits.
 */
import type { Dispatch, Graph, Tensor } from "./graph.ts";
import { rootOf, type Traced } from "./layout.ts";

/** The graph with every segment (see `Graph.segment`) computed again in its backward pass. */
export function checkpoint(graph: Pick<Graph, "dispatches" | "tensors" | "segments" | "backwards">): Traced {
  const { dispatches, backwards } = graph;
  const tensors = [...graph.tensors];
  /** What is computed again before dispatch i, and what is read in place of a dropped tensor from its backward pass on. */
  const again = new Map<number, Dispatch[]>();
  const replaced = new Map<Tensor, { readonly copy: Tensor; readonly from: number }>();
  const copyOf = (tensor: Tensor): Tensor => {
    const copy = { ...tensor, id: tensors.length, name: `${tensor.name} again` };
    tensors.push(copy);
    return copy;
  };

  const uses = usesOf(dispatches);
  for (const { start, end } of graph.segments) {
    const backward = backwards.find((at) => at >= end);
    if (backward === undefined) continue; // forward only
    const own = [...new Set(dispatches.slice(start, end).flatMap(written))];
    const dropped = own.filter((tensor) => {
      const at = uses.get(tensor) as readonly number[];
      return at.some((i) => i >= backward) && !at.some((i) => i < start || (i >= end && i < backward));
    });
    if (dropped.length === 0) continue;
    const needed = new Set(dropped);
    const repeated: Dispatch[] = [];
    for (const dispatch of dispatches.slice(start, end).reverse()) {
      if (!written(dispatch).some((tensor) => needed.has(tensor))) continue;
      repeated.unshift(dispatch);
      for (const { tensor } of dispatch.bindings) {
        const root = rootOf(tensor);
        if (root.storage.kind === "temp" && own.includes(root) && !survives(root, uses, end, backward))
          needed.add(root);
      }
    }
    const copies = new Map<Tensor, Tensor>();
    for (const dispatch of repeated)
      for (const tensor of written(dispatch)) {
        // A second run must leave no trace outside of the segment's own temporaries.
        if (tensor.storage.kind !== "temp")
          throw new Error(`${dispatch.shader} writes ${tensor.name}, so its layer cannot be computed twice`);
        if (!copies.has(tensor)) copies.set(tensor, copyOf(tensor));
      }
    const first = Math.min(...dropped.flatMap((tensor) => uses.get(tensor)?.filter((i) => i >= backward) ?? []));
    again.set(first, [
      ...(again.get(first) ?? []),
      ...repeated.map((dispatch) => rebind(dispatch, tensors, (tensor) => copies.get(tensor))),
    ]);
    for (const tensor of dropped) replaced.set(tensor, { copy: copies.get(tensor) as Tensor, from: backward });
  }

  const rewritten = dispatches.map((dispatch, i) =>
    rebind(dispatch, tensors, (tensor) => {
      const other = replaced.get(tensor);
      return other && i >= other.from ? other.copy : undefined;
    }),
  );
  return { tensors, dispatches: rewritten.flatMap((dispatch, i) => [...(again.get(i) ?? []), dispatch]) };
}

/** What a dispatch writes, views as the tensor whose bytes they show. */
const written = ({ bindings }: Dispatch): Tensor[] =>
  bindings.filter(({ access }) => access === "write").map(({ tensor }) => rootOf(tensor));

function usesOf(dispatches: readonly Dispatch[]): ReadonlyMap<Tensor, readonly number[]> {
  const uses = new Map<Tensor, number[]>();
  for (const [i, { bindings }] of dispatches.entries())
    for (const root of new Set(bindings.map(({ tensor }) => rootOf(tensor)))) {
      const at = uses.get(root);
      if (at) at.push(i);
      else uses.set(root, [i]);
    }
  return uses;
}

/** Whether a tensor of a segment is kept until the backward pass anyway, because a later layer reads it. */
const survives = (
  tensor: Tensor,
  uses: ReadonlyMap<Tensor, readonly number[]>,
  end: number,
  backward: number,
): boolean => uses.get(tensor)?.some((i) => i >= end && i < backward) ?? false;

/** The dispatch with some tensors put in place of others; a view shows the same bytes of the new one. */
function rebind(dispatch: Dispatch, tensors: Tensor[], by: (tensor: Tensor) => Tensor | undefined): Dispatch {
  return {
    ...dispatch,
    bindings: dispatch.bindings.map(({ tensor, access }) => {
      const other = by(rootOf(tensor));
      if (!other) return { tensor, access };
      if (tensor.storage.kind !== "view") return { tensor: other, access };
      const view: Tensor = { ...tensor, id: tensors.length, storage: { ...tensor.storage, of: other } };
      tensors.push(view);
      return { tensor: view, access };
    }),
  };
}
