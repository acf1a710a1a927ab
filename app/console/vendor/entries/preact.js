// One module for everything that views are made of, so that no import map is needed.
import htm from "htm";
import { createElement } from "preact";

export { render, Fragment, Component, createRef } from "preact";
export {
  useCallback, useEffect, useErrorBoundary, useId, useLayoutEffect, useMemo, useRef, useState,
} from "preact/hooks";
export { batch, computed, effect, signal, untracked } from "@preact/signals";
export const html = htm.bind(createElement);
