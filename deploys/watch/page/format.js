// Values as people read them. Null and undefined are a dash.

const DASH = "–";
const known = (value) => typeof value === "number" && Number.isFinite(value);

export function count(value) {
  return known(value) ? Math.round(value).toLocaleString("en") : DASH;
}

export function rate(value) {
  if (!known(value)) return DASH;
  return value >= 100 ? count(value) : value.toFixed(value >= 10 || value === 0 ? 0 : 1);
}

export function seconds(value) {
  if (!known(value)) return DASH;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return `${value.toFixed(value < 3 ? 2 : 1)} s`;
}

export function memory(used, total) {
  if (!known(total)) return "";
  const gib = (bytes) => (bytes / 1024 ** 3).toFixed(1);
  return known(used) ? `${gib(used)} of ${gib(total)} GiB` : `${gib(total)} GiB`;
}

export function speed(bits) {
  if (!known(bits)) return "";
  return bits >= 1e9 ? `${Number((bits / 1e9).toFixed(1))} Gb/s` : `${Number((bits / 1e6).toFixed(1))} Mb/s`;
}

export function duration(value) {
  if (!known(value)) return DASH;
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function percent(value) {
  return known(value) ? `${Math.round(value * 100)} %` : DASH;
}

export function clip(text, length) {
  return text.length > length ? `${text.slice(0, Math.max(1, length - 1))}…` : text;
}
