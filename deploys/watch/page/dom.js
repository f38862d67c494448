// Elements from data. Text is only ever set as text: nothing here parses what another machine said.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child);
  }
  return element;
}

export const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS(SVG, tag), attributes, children);

export const byId = (id) => document.getElementById(id);

// Draws again only when what is shown has changed: focus, selection and animations stay.
export function onChange(draw) {
  let last = null;
  return (value, ...rest) => {
    const mark = JSON.stringify([value, ...rest]);
    if (mark === last) return;
    last = mark;
    draw(value, ...rest);
  };
}
