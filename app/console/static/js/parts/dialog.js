// The browser's modal dialog, which traps the focus and closes with Escape.
import { html, useEffect, useId, useRef } from "../../vendor/preact.js";

/** Open while it is drawn; `onClose` is called when the user closes it. */
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
