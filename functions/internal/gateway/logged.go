package gateway

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/forebaylog/forebay/functions/internal/emf"
)

// Logged writes a line for each request of a function, with metrics.
func Logged(h http.Handler, origin emf.Origin, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(seen, r)
		took := time.Since(began)
		failed, refused := 0.0, 0.0
		switch {
		case seen.status >= http.StatusInternalServerError:
			failed = 1
		case seen.status >= http.StatusBadRequest:
			refused = 1
		}
		attrs := []slog.Attr{slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", seen.status)}
		log.LogAttrs(r.Context(), slog.LevelInfo, "request", append(attrs, origin.Attrs(began,
			emf.Metric{Name: "Requests", Unit: emf.Count, Value: 1},
			emf.Metric{Name: "RequestsFailed", Unit: emf.Count, Value: failed},
			emf.Metric{Name: "RequestsRefused", Unit: emf.Count, Value: refused},
			emf.Metric{Name: "RequestDuration", Unit: emf.Milliseconds, Value: float64(took.Microseconds()) / 1000},
		)...)...)
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
