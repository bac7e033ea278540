/**
 * Is a worker still there? A worker that runs out of memory, closes itself or is ended by the browser tells nobody, and
 * calls to it are never answered. But the browser gives back the Web Locks of whoever is gone: a worker holds one as long
 * as it lives, and the page waits for it. No timer is involved, so a hidden tab and a machine asleep raise no alarm.
 */

/** In the worker: takes the lock `name` for good; resolves when it is held. */
export function live(name: string): Promise<void> {
  return new Promise((held, refused) => {
    navigator.locks
      .request(name, () => {
        held();
        return new Promise<never>(() => {});
      })
      .catch(refused);
  });
}

/** In the page: resolves when `worker` is gone. Where there are no locks (plain HTTP, where nothing trains) it never does. */
export async function gone(worker: { live(name: string): Promise<void> }): Promise<void> {
  if (!navigator.locks) return new Promise(() => {});
  const name = `autodidact-worker-${crypto.randomUUID()}`;
  await worker.live(name);
  await navigator.locks.request(name, () => undefined);
}
