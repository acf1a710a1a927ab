// The state of a request started by the user: busy, done or failed.
import { useEffect, useRef, useState } from "../../vendor/preact.js";
import { standing } from "../state/live.js";

/** [run, busy, problem]: `run(fn)` calls one at a time and resolves to whether it succeeded. */
export function useBusy() {
  const [state, setState] = useState({ busy: false, problem: null });
  const alive = useRef(true);
  useEffect(() => () => (alive.current = false), []);
  const run = async (work) => {
    if (state.busy) return false;
    setState({ busy: true, problem: null });
    try {
      await work();
      if (alive.current) setState({ busy: false, problem: null });
      return true;
    } catch (problem) {
      if (alive.current) setState({ busy: false, problem });
      return false;
    }
  };
  return [run, state.busy, state.problem];
}

/** Fetches data, again whenever `wanted` or `version` changes or the server is back: {value, problem, again}. With another `version` the value stays until the new one is there. */
export function useFetched(fetcher, wanted, version) {
  const [state, setState] = useState({ value: null, problem: null });
  const count = useRef(0);
  const again = () => {
    const own = ++count.current;
    return fetcher().then(
      (value) => own === count.current && setState({ value, problem: null }),
      (problem) => own === count.current && setState((before) => ({ ...before, problem })),
    );
  };
  useEffect(() => setState({ value: null, problem: null }), wanted);
  useEffect(() => {
    again();
    return () => {
      count.current += 1;
    };
  }, [...wanted, version]);
  const live = standing.value === "live";
  useEffect(() => {
    if (live && state.problem) again();
  }, [live]);
  return { ...state, again };
}
