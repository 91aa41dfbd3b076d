"""A private Sigstore on loopback: issuer, Fulcio, Rekor of version 2 and time stamper, all with real signatures."""
