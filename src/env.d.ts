/** Constants that vite.config.ts writes in at build time. */
/** Version of this package. */
declare const __VERSION__: string;
/** Version of onnxruntime-web. */
declare const __ORT_VERSION__: string;
/** Puts an IndexedDB into the globals. */
declare module "fake-indexeddb/auto";
