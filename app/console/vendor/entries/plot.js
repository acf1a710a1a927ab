// Plots on a canvas.
export { default as Plot } from "uplot";
