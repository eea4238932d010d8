#!/bin/sh
# Applies an overlay in the order that an update needs: settings, the migration, then the pods.
#
#   deploy/kubernetes/apply.sh production
#
# README.md beside it lists what to change before. Before the first time: the namespace, and in it the Secret that the pods read as files.
#
#   kubectl apply -f deploy/kubernetes/overlays/production/namespace.yaml
#   kubectl --namespace keyturn create secret generic keyturn \
#       --from-file=master-secret --from-file=database-url --from-file=redis-url
#
# And after it, once: kubectl --namespace keyturn exec deploy/keyturn -- \
#       keyturn bootstrap --username ada@example.org
set -eu

overlay=$(dirname "$0")/overlays/$1
rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
kubectl kustomize "$overlay" > "$rendered"
namespace=$(sed -n 's/^namespace: //p' "$overlay/kustomization.yaml")

# A Job cannot be changed, only made anew.
kubectl --namespace "$namespace" delete job keyturn-migrate --ignore-not-found
kubectl apply --filename "$rendered" --selector 'app.kubernetes.io/component!=server'
if ! kubectl --namespace "$namespace" wait job/keyturn-migrate --for=condition=complete --timeout=600s
then
    kubectl --namespace "$namespace" logs job/keyturn-migrate --tail=20 >&2 || true
    exit 1
fi
kubectl apply --filename "$rendered"
kubectl --namespace "$namespace" rollout status deployment/keyturn --timeout=300s
