package server

import (
	"errors"
	"fmt"
	"net/http"

	"sluice.dev/sluice/oci"
)

// isMissing says whether err is that of a manifest that is not there.
func isMissing(err error) bool { return errors.Is(err, oci.ErrManifestUnknown) }

// pointBelow adds to the error of a pull that found nothing where the artifact has come to
// so far and how it would rise, if a tier below has it and the caller may pull it there.
// Nothing is asked unless the pull failed so. The answer to HEAD has no body: there a
// warning says it, which oras and others print.
func (s *Server) pointBelow(r v2Request, err error) error {
	if !isMissing(err) {
		return err
	}
	reference, sep := r.route.ref, ":"
	if oci.IsDigest(reference) {
		sep = "@"
	}
	above := r.repo.Tier
	for above.From != "" {
		below, openErr := s.registry.Repository(above.From, r.repo.Name, r.repo.Actor)
		if openErr != nil {
			return err
		}
		if s.allow(r, ActionPull, below.Tier.Name, below.Name) == nil {
			if _, resolveErr := below.Resolve(r.Request().Context(), reference); resolveErr == nil {
				err = fmt.Errorf("%w; it is in %s and rises from there with: sluice promote HOST/%s%s%s --to %s", err,
					below.Tier.Name, below.FullName(), sep, reference, above.Name)
				if r.Request().Method == http.MethodHead {
					warn(r.Response().Header(), s.message(err, r))
				}
				return err
			}
		}
		above = below.Tier
	}
	return err
}
