// A virtual list: only the visible rows are in the document.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../../vendor/preact.js";

const BEYOND = 8;

/**
 * `row(item, index)` draws what stands in a row; `rowHeight` is in pixels. `onEnd` is told when the end comes near,
 * `onScroll` where the reader is. The row at `selected` is kept in sight.
 */
export function Listing({ items, rowHeight, keyOf, row, label, selected = -1, onEnd, onScroll, empty }) {
  const box = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  useLayoutEffect(() => {
    const look = () => setView({ top: box.current.scrollTop, height: box.current.clientHeight });
    const observer = new ResizeObserver(look);
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (selected < 0) return;
    const top = selected * rowHeight;
    const { scrollTop, clientHeight } = box.current;
    if (top < scrollTop) box.current.scrollTop = top;
    else if (top + rowHeight > scrollTop + clientHeight) box.current.scrollTop = top + rowHeight - clientHeight;
  }, [selected, rowHeight]);
  const first = Math.max(0, Math.floor(view.top / rowHeight) - BEYOND);
  const last = Math.min(items.length, Math.ceil((view.top + view.height) / rowHeight) + BEYOND);
  useEffect(() => {
    if (last >= items.length - BEYOND) onEnd?.();
  }, [last, items.length]);
  const moved = () => {
    setView({ top: box.current.scrollTop, height: box.current.clientHeight });
    onScroll?.(box.current.scrollTop);
  };
  return html`<div class="listing" ref=${box} onScroll=${moved}>
    ${items.length === 0 && empty}
    <ul aria-label=${label} style=${{ height: `${items.length * rowHeight}px` }}>
      ${items.slice(first, last).map((item, place) => {
        const index = first + place;
        return html`<li key=${keyOf(item)} aria-setsize=${items.length} aria-posinset=${index + 1}
          class=${index === selected ? "selected" : ""}
          style=${{ top: `${index * rowHeight}px`, height: `${rowHeight}px` }}>${row(item, index)}</li>`;
      })}
    </ul>
  </div>`;
}
