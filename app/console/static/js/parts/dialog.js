// A question of the console's own: the browser's modal dialog, which keeps the focus and closes by Escape.
import { html, useEffect, useId, useRef } from "../../vendor/preact.js";

/** Open for as long as it is drawn; `onClose` is told when the reader leaves it. */
export function Dialog({ title, onClose, children }) {
  const box = useRef(null);
  const name = useId();
  useEffect(() => {
    const dialog = box.current;
    dialog.showModal();
    return () => dialog.close();
  }, []);
  const backdrop = (event) => event.target === box.current && onClose();
  return html`<dialog ref=${box} aria-labelledby=${name} onCancel=${(event) => (event.preventDefault(), onClose())} onClick=${backdrop}>
    <div class="dialog">
      <h2 id=${name}>${title}</h2>
      ${children}
    </div>
  </dialog>`;
}
