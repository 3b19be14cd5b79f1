//go:build tools

// Package tools locks the version of KWOK, the simulated node, and of everything that it is built from.
package tools

import _ "sigs.k8s.io/kwok/cmd/kwok"
