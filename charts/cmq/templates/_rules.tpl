{{/* What the operator does in the namespaces that it looks after; operator/src/permissions.rs is the same table. */}}
{{- define "cmq.rules.watched" -}}
- apiGroups: [cmq.dev]
  resources: [brokers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [cmq.dev]
  resources: [queues]
  verbs: [get, list, watch, patch{{ if eq .Values.uninstall.policy "Delete" }}, delete{{ end }}]
- apiGroups: [cmq.dev]
  resources: [brokers/status, queues/status]
  verbs: [patch]
# An owner reference that blocks deletion asks for this where the API server enforces it.
- apiGroups: [cmq.dev]
  resources: [brokers/finalizers, queues/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, create, patch, delete]
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, create, patch, delete]
# By name: authorities and certificates of Brokers, and what their specs refer to.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# A stuck pod of a bad revision is deleted.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# Volumes grow, are labelled when they are kept, and are deleted where the Broker says so.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What it reads of the cluster. It does without where it has Roles only. */}}
{{- define "cmq.rules.cluster" -}}
# Consent by labels, and whether a namespace is being deleted.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
# Whether volumes of a class can grow.
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get]
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [brokers.cmq.dev, queues.cmq.dev]
  verbs: [get]
{{- end -}}
