// Runs before the first paint, so that a dark room stays dark.
try {
  const root = document.documentElement;
  const { theme, density } = localStorage;
  if (theme && theme !== 'auto') root.dataset.theme = theme;
  if (density) root.dataset.density = density;
} catch {
  // Storage is switched off; the system's own theme stands.
}
